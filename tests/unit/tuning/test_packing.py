"""Rows in sequences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.core.registry import build
from scrimp.examples.templates import Encoded
from scrimp.tuning.packing import path
from scrimp.tuning.plan import TunePlan


def row(ids, number=0, **more):
    return Encoded(list(ids), [True] * len(ids), row=number, **more)


@given(st.integers(1, 5000))
def test_parts_are_powers_of_two_the_longest_first(length):
    packed = build("packing", "decomposed", {"longest_part": 1024}).pack([row(range(length))], seed=0)
    parts = [len(one.ids) for one in packed]
    if length < 16:
        assert parts == [length]
    else:
        assert all(part.bit_count() == 1 and 16 <= part <= 1024 for part in parts)
        assert parts == sorted(parts, reverse=True)
        assert len([part for part in parts if part < 1024]) == len({part for part in parts if part < 1024})
        assert sum(parts) == length - length % 16
    assert [i for one in packed for i in one.ids] == list(range(sum(parts)))


@settings(deadline=None)  # a library is imported by the first
@given(arrays(np.float64, st.tuples(st.integers(0, 30), st.integers(1, 4)), elements=st.floats(-5, 5)),
       st.integers(1, 40))
def test_a_path_visits_every_row_once(vectors, neighbours):
    assert sorted(path(vectors, neighbours).tolist()) == list(range(len(vectors)))


def test_a_path_goes_to_the_most_similar_row_that_is_left():
    """Brute force, with every row a neighbour of every other."""
    vectors = np.random.default_rng(0).normal(size=(25, 6))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = path(vectors, 24).tolist()
    for place in range(24):
        left = order[place + 1:]
        assert left[0] == max(left, key=lambda i: unit[order[place]] @ unit[i])


def test_topics_stand_together():
    draw = np.random.default_rng(0)
    topics = draw.permutation(np.repeat(np.arange(4), 20))
    rows = [row(100 * topic + draw.integers(0, 30, size=40), i) for i, topic in enumerate(topics)]
    changes = {name: sum(np.diff([one.ids[0] // 100 for one in build("packing", name, {"pack_tokens": 40}).pack(
        rows, seed=0)]) != 0) for name in ("related", "concatenated")}
    assert 3 <= changes["related"] < 8
    assert changes["concatenated"] > 40


def test_blocks_are_full_but_the_last():
    packed = build("packing", "concatenated", {"pack_tokens": 16}).pack([row(range(5), i) for i in range(11)], seed=0)
    assert [len(one.ids) for one in packed] == [16, 16, 16, 7]


@pytest.mark.parametrize("name", ["concatenated", "decomposed", "related"])
def test_rows_that_cannot_be_parted_are_refused(name):
    with pytest.raises(DataError, match="1 of 2 rows"):
        build("packing", name).pack([row([1, 2]), row([3, 4], 1, target=1)], seed=0)


def test_a_plan_packs_what_it_trains_on(lora, tmp_path):
    plan, meter = TunePlan.parse({"packing": "decomposed", "steps": 2, "batch_size": 1, "fast": False}), Meter()
    plan.train(lora(), [row([3 + i % 50 for i in range(37)])], pad_id=0, folder=tmp_path, meter=meter)
    assert meter.bill().tokens_backward == 2 * 32
