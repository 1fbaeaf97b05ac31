"""Greedy generation does not depend on the batch, and losses are the model's own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.examples.templates import Encoded
from scrimp.serving.generation import end_tokens, generate, token_losses

ROWS = st.lists(st.lists(st.integers(3, 60), min_size=1, max_size=12), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def loaded(causal_folder):
    return load(resolve(causal_folder), dtype="float32")


def by_hand(model, prompt, count, ends):
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token in ends:
                break
            ids.append(token)
    return ids[len(prompt):]


@settings(max_examples=10, deadline=None)
@given(ROWS, st.sampled_from([1, 4096]))
def test_every_row_gets_what_it_gets_alone(loaded, prompts, micro_tokens):
    made = generate(loaded, prompts, max_new_tokens=6, micro_tokens=micro_tokens)
    assert made == [by_hand(loaded.model, prompt, 6, end_tokens(loaded)) for prompt in prompts]


def test_a_given_end_token_stops_it(loaded):
    prompt = [5, 6, 7]
    free = generate(loaded, [prompt], max_new_tokens=8)[0]
    stopped = generate(loaded, [prompt, [9, 10]], max_new_tokens=8, stop=[free[0]])
    assert stopped[0] == []
    assert free[0] not in stopped[1]


def test_the_checkpoints_own_generation_settings_are_laid_aside_and_put_back(causal_folder):
    loaded = load(resolve(causal_folder), dtype="float32")
    plain = generate(loaded, [[5, 6, 7]], max_new_tokens=8)
    own = {"repetition_penalty": 9.0, "do_sample": True, "temperature": 5.0, "no_repeat_ngram_size": 1}
    loaded.model.generation_config.update(**own)
    assert generate(loaded, [[5, 6, 7]], max_new_tokens=8) == plain
    assert loaded.model.generation_config.repetition_penalty == 9.0


def test_an_adapted_model_generates(causal_folder):
    from scrimp.tuning.adapters import LoRA

    loaded = load(resolve(causal_folder), dtype="float32")
    plain = generate(loaded, [[5, 6, 7], [8]], max_new_tokens=5)
    loaded.model.generation_config.repetition_penalty = 9.0
    assert generate(loaded.with_model(LoRA(rank=2).attach(loaded.model)), [[5, 6, 7], [8]], max_new_tokens=5) == plain


def test_empty_prompts_are_refused_and_no_rows_are_none(loaded):
    with pytest.raises(DataError, match="row 2"):
        generate(loaded, [[5], []])
    assert generate(loaded, []) == []


def test_tokens_are_charged(loaded):
    meter = Meter()
    made = generate(loaded, [[5, 6, 7], [8]], max_new_tokens=4, meter=meter)
    assert meter.bill().tokens_forward == 4 + sum(map(len, made))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(3, 60), st.booleans()), min_size=1, max_size=15), min_size=1,
                max_size=6), st.sampled_from([8, 4096]))
def test_losses_are_those_of_each_row_alone(loaded, rows, micro_tokens):
    encoded = [Encoded([token for token, _ in row], [trained for _, trained in row]) for row in rows]
    found = token_losses(loaded, encoded, micro_tokens=micro_tokens)
    for (loss, count), row in zip(found, encoded, strict=True):
        with torch.inference_mode():
            likely = loaded.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        wanted = [at for at in range(1, len(row.ids)) if row.trained[at]]
        assert count == len(wanted)
        assert loss == pytest.approx(-sum(float(likely[at - 1, row.ids[at]]) for at in wanted), abs=1e-3)


def test_a_random_model_is_about_as_sure_as_chance(loaded):
    loss, count = token_losses(loaded, [Encoded(list(range(10, 60)), [True] * 50)])[0]
    assert loss / count == pytest.approx(math.log(loaded.model.config.vocab_size), rel=0.2)


def test_losses_that_are_no_numbers_are_found(causal_folder):
    broken = load(resolve(causal_folder), dtype="float32")
    with torch.no_grad():
        broken.model.model.norm.weight[0] = float("inf")
    with pytest.raises(ModelError, match="not finite"):
        token_losses(broken, [Encoded([5, 6, 7], [True] * 3)])
