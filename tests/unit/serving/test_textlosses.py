"""Losses of texts are the model's own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError
from scrimp.examples.templates import Encoded
from scrimp.serving.textlosses import token_losses


@pytest.fixture(scope="module")
def loaded(causal_folder):
    return load(resolve(causal_folder), dtype="float32")


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
