"""Logit arithmetic against its formula, and a combined model where single models go."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from scrimp.checkpoints.loading import Loaded, load, resolve
from scrimp.core.errors import ModelError
from scrimp.core.registry import build
from scrimp.serving.scoring import score_labels, score_plainly
from scrimp.signals.decoding import generate

ROW = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def family(causal_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Loaded]:
    root = tmp_path_factory.mktemp("family")
    small = [tiny.causal(root / str(seed), seed=seed, hidden=32) for seed in (1, 2)]
    loaded = [load(resolve(folder), dtype="float32") for folder in (causal_folder, *small)]
    for name, parameter in (named for one in loaded for named in one.model.named_parameters()):
        parameter.data *= 20 if "_proj" in name else 1  # so that a model does not only repeat its last token
    return loaded


@given(ROW, st.lists(st.tuples(st.floats(-2, 2), ROW, ROW), min_size=1, max_size=3))
def test_each_token_is_as_probable_as_the_product_says(base: list, pairs: list) -> None:
    wanted = np.exp(np.array(base))
    for strength, tuned, untuned in pairs:
        p, q = np.exp(tuned) / np.exp(tuned).sum(), np.exp(untuned) / np.exp(untuned).sum()
        wanted = wanted * (p / q) ** strength
    logits = [torch.tensor(row, dtype=torch.float64) for row in (base, *(r for _, *two in pairs for r in two))]
    method = build("decoding", "emulated-fine-tuning", {"strengths": [s for s, *_ in pairs]})
    assert method.combine(logits).softmax(-1).tolist() == pytest.approx((wanted / wanted.sum()).tolist(), abs=1e-4)


def test_a_pair_that_has_not_been_tuned_changes_nothing(family: list[Loaded]) -> None:
    big, small, _ = family
    joined = build("decoding", "proxy-tuning").join([big, small, small])
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12]]
    assert generate(joined, prompts, max_new_tokens=8) == generate(big, prompts, max_new_tokens=8)


def test_a_model_shifted_from_itself_becomes_the_tuned_one(family: list[Loaded]) -> None:
    big, tuned, untuned = family
    joined = build("decoding", "proxy-tuning").join([untuned, tuned, untuned])
    assert generate(joined, [[5, 6, 7]], max_new_tokens=8) == generate(tuned, [[5, 6, 7]], max_new_tokens=8)
    assert generate(joined, [[5, 6, 7]], max_new_tokens=8) != generate(big, [[5, 6, 7]], max_new_tokens=8)


def test_labels_are_scored_by_the_tree_as_by_plain_passes(family: list[Loaded]) -> None:
    joined = build("decoding", "proxy-tuning").join(family)
    for prompts in ([[5, 6, 7], [8, 9]], [[5, 6, 7], [5, 6, 8, 9]]):  # without and with a shared beginning
        answers = [[10, 11, 12], [10, 13], [14]]
        tree, plain = score_labels(joined, prompts, answers), score_plainly(joined, prompts, answers)
        np.testing.assert_allclose(tree, plain, rtol=1e-4)


def test_output_layers_padded_to_different_widths_are_cut(family: list[Loaded]) -> None:
    big, tuned, untuned = family
    wider = big.with_model(copy.deepcopy(big.model))
    wider.model.resize_token_embeddings(448, mean_resizing=False)
    found = build("decoding", "proxy-tuning").join([wider, tuned, untuned]).model(input_ids=torch.tensor([[5, 6]]))
    wanted = build("decoding", "proxy-tuning").join(family).model(input_ids=torch.tensor([[5, 6]]))
    torch.testing.assert_close(found.logits, wanted.logits)
    assert found.logits.shape[-1] < 448


def test_logits_of_different_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match="different shapes"):
        build("decoding", "proxy-tuning").combine([torch.zeros(3), torch.zeros(4), torch.zeros(4)])
