"""What is generated does not depend on the batch, on what prompts share, or, drawn, on the rows beside a row."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.signals.decoding import Draws, drawn, end_tokens, generate

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


BEGINNING = list(range(30, 60))


@settings(max_examples=10, deadline=None)
@given(ROWS, st.sampled_from([1, 4096]))
def test_what_prompts_share_changes_nothing(loaded, rests, micro_tokens):
    prompts = [[*BEGINNING, *rest] for rest in rests]
    made = generate(loaded, prompts, max_new_tokens=6, micro_tokens=micro_tokens)
    assert made == [by_hand(loaded.model, prompt, 6, end_tokens(loaded)) for prompt in prompts]


def test_what_prompts_share_is_computed_once(loaded):
    prompts = [[*BEGINNING, 5, 6], [*BEGINNING, 7], [*BEGINNING, 8, 9, 10]]
    generate(loaded, prompts, max_new_tokens=1)  # whether the model takes it is tried once
    read, meter = [], Meter()
    handle = loaded.model.model.embed_tokens.register_forward_pre_hook(lambda _, given: read.append(given[0].shape))
    made = generate(loaded, prompts, max_new_tokens=3, meter=meter)
    handle.remove()
    assert read[:2] == [(1, 30), (3, 3)]
    assert meter.bill().tokens_forward == 30 + 6 + sum(map(len, made))


def test_a_model_that_takes_no_cache_or_goes_on_wrongly_from_it_is_left_alone(causal_folder, monkeypatch):
    loaded = load(resolve(causal_folder), dtype="float32")
    prompts = [[*BEGINNING, 5, 6], [*BEGINNING, 7]]
    expected = [by_hand(loaded.model, prompt, 4, end_tokens(loaded)) for prompt in prompts]
    whole = loaded.model.model.forward

    def forgets(*given, **options):
        if (cache := options.get("past_key_values")) is not None and cache.get_seq_length() == len(BEGINNING):
            cache.layers[0].values.mul_(2.0)
        return whole(*given, **options)

    monkeypatch.setattr(loaded.model.model, "forward", forgets)
    assert generate(loaded, prompts, max_new_tokens=4) == expected


def test_a_draw_depends_on_the_prompt_and_its_seed_alone(loaded):
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [5, 6, 7]]
    before = torch.random.get_rng_state()

    def draw(rows, micro_tokens=4096, **changed):
        draws = Draws(**{"temperature": 1.0, "top_p": 0.9, "seeds": [100 + i for i in rows], **changed})
        return generate(loaded, [prompts[i] for i in rows], max_new_tokens=8, draws=draws, micro_tokens=micro_tokens)

    together = draw([0, 1, 2, 3])
    assert together == [draw([i])[0] for i in range(4)] == draw([0, 1, 2, 3], micro_tokens=1)
    assert draw([3, 1]) == [together[3], together[1]]
    assert together[0] != together[3]
    assert draw([0], temperature=1e-6) == generate(loaded, [prompts[0]], max_new_tokens=8)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.6)])
def test_tokens_are_drawn_as_often_as_they_are_probable(temperature, top_p):
    scores = torch.tensor([2.0, -1.0, 0.5, -torch.inf, 1.0])
    expected = (scores.double() / temperature).softmax(-1).numpy()
    order, mass = np.argsort(-expected), 0.0
    for token in order:  # by the definition of a nucleus
        expected[token], mass = (0.0 if mass >= top_p else expected[token]), mass + expected[token]
    numbers = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    found = drawn(scores.expand(20_000, -1), numbers, temperature=temperature, top_p=top_p)
    counts = np.bincount(found.numpy(), minlength=5) / 20_000
    np.testing.assert_allclose(counts, expected / expected.sum(), atol=1e-3)


def test_the_largest_number_draws_a_token_that_can_be():
    scores = torch.tensor([[0.0, 0.0, 0.0, -torch.inf]])
    assert drawn(scores, torch.tensor([1 - 2.0**-53], dtype=torch.float64), temperature=0.7, top_p=1.0).item() == 2


def test_rows_are_told_batch_by_batch(loaded):
    prompts, told = [[5, 6, 7], [8], [9, 10]], []
    made = generate(loaded, prompts, max_new_tokens=4, micro_tokens=1, tell=told.append)
    assert [list(one) for one in told] == [[0], [2], [1]]
    assert {i: ids for one in told for i, ids in one.items()} == dict(enumerate(made))


def test_probabilities_that_are_no_numbers_are_told(causal_folder):
    broken = load(resolve(causal_folder), dtype="float32")
    with torch.no_grad():
        broken.model.model.norm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        generate(broken, [[5, 6]], max_new_tokens=2, draws=Draws(1.0, 1.0, [0]))
