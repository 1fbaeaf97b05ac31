"""Membership scores against their formulas, and which slices a deletion costs."""

import zlib

import numpy as np
import pytest
import torch
from torch import nn

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import DataError, ModelError, OptionError
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.trust import Slices


@pytest.fixture
def model(causal_folder):
    return load(resolve(causal_folder), dtype="float32").model


@pytest.mark.parametrize("lowest", [0.2, 0.5, 0.01, 1.0])
@pytest.mark.parametrize("standard", [False, True])
def test_the_score_is_the_mean_of_the_lowest_tokens(model, lowest, standard):
    row = Encoded(np.random.default_rng(0).integers(3, 300, 31).tolist(), [True] * 31)
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([row.ids])).logits[0, :-1].double().log_softmax(-1)
    tokens = scores.gather(1, torch.tensor(row.ids[1:])[:, None])[:, 0]
    if standard:
        mean = (scores.exp() * scores).sum(-1)
        tokens = (tokens - mean) / ((scores.exp() * scores**2).sum(-1) - mean**2).sqrt()
    count = max(1, round(lowest * 30))
    expected = float(tokens.sort().values[:count].mean())
    found = build("audit", "min-k", {"lowest": lowest, "standard": standard}).scores(model, [row])
    assert found[0] == pytest.approx(expected, rel=1e-4)


def test_the_loss_and_the_loss_a_compressed_byte(model):
    row = Encoded([5, 6, 7] * 10, [True] * 30)
    loss, packed = (build("audit", name).scores(model, [row])[0] for name in ("loss", "zlib"))
    size = len(zlib.compress(np.array(row.ids, dtype="<u4").tobytes()))
    assert packed == pytest.approx(loss * 29 / size)


def network(layers=6):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))


def fitted(rows=60, **options):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 4)).astype(np.float32), rng.integers(0, 4, rows)
    return Slices(steps=2, **options).fit(network(), x, y)


def rows_of(found, shard, order, place):
    return found._runs[shard][order].rows[place]


def test_a_deletion_costs_its_slice_and_the_later_ones_of_its_shard():
    found = fitted(shards=2, slices=4, orders=1)
    assert found.in_force == [4, 4]
    found.forget([rows_of(found, 1, 0, 2)[0]])
    assert found.in_force == [4, 2]
    found.forget([rows_of(found, 1, 0, 3)[0], rows_of(found, 0, 0, 0)[0]])
    assert found.in_force == [0, 2]


def test_another_order_answers_where_more_is_left_of_it():
    found = fitted(shards=1, slices=4, orders=4)
    found.forget([rows_of(found, 0, 0, 0)[0]])
    assert found.in_force == [3]  # in the rotation that begins with the second slice, the first one comes last


def test_every_row_is_in_one_slice_and_every_slice_at_every_place():
    found = fitted(shards=3, slices=4, orders=4, rows=61)
    assert sorted(np.concatenate([rows for shard in found._runs for rows in shard[0].rows]).tolist()) == list(range(61))
    for shard in found._runs:
        for place in range(4):
            assert len({tuple(run.rows[place]) for run in shard}) == 4


def test_the_layers_nearest_to_the_output_come_first_and_no_layer_twice():
    groups = Slices(slices=4)._groups(network(6))
    assert [list(group) for group in groups] == [["5", "4"], ["3", "2"], ["1"], ["0"]]


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"slices": 7, "shards": 1}, ModelError, "7 slices need as many"), ({"shards": 20}, DataError, "60 rows cannot"),
    ({"slices": 2, "orders": 3, "shards": 1}, OptionError, "there are 2 orders")])
def test_what_cannot_be_sliced_is_told(options, error, message):
    with pytest.raises(error, match=message):
        fitted(**options)


def test_rows_that_there_are_not_cannot_be_forgotten():
    with pytest.raises(DataError, match="rows 0 to 59"):
        fitted().forget([60])
