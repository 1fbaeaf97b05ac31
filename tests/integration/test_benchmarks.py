"""The benchmark of training: its rows are what they are said to be, and the fast path is exact on each of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.training.exactness import gradient_error
from benchmarks.training.workloads import WORKLOADS, rows
from scrimp.checkpoints.loading import load, resolve
from scrimp.compute.forest import Forest

pytestmark = pytest.mark.integration


def test_rows_are_real_text_of_the_lengths_that_make_a_workload() -> None:
    tokenizer = load(resolve("smollm2-135m")).tokenizer
    made = {workload: rows(workload, tokenizer) for workload in WORKLOADS}
    assert {name: len(found) for name, found in made.items()} == {"W1": 8, "W2": 8, "W3": 4, "W4": 4}
    assert all(row.ids[:150] == made["W1"][0].ids[:150] and sum(row.trained) == 5 for row in made["W1"])
    assert all(170 <= len(row.ids) - 5 <= 230 for row in made["W1"])
    assert all(100 <= len(row.ids) <= 350 and 50 <= sum(row.trained) <= 200 for row in made["W2"])
    assert all(row.second and row.ids[:200] == row.second.ids[:200] and row.tokens == 520 for row in made["W3"])
    assert all(len(row.ids) == 512 and all(row.trained) for row in made["W4"])
    assert " the " in tokenizer.decode(made["W4"][0].ids)
    assert made["W2"] == rows("W2", tokenizer)


def test_what_is_shared_is_found() -> None:
    tokenizer = load(resolve("smollm2-135m")).tokenizer
    few = rows("W1", tokenizer)
    forest = Forest.of([np.array(row.ids) for row in few])
    assert len(forest.ids) == sum(len(row.ids) for row in few) - 7 * 150


def test_gradients_are_those_of_padded_batches() -> None:
    assert gradient_error() < 5e-5
