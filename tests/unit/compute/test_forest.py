"""Rows as a forest: every row is a path, what is common is there once, and nobody sees what is not theirs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.compute.forest import Forest, in_portions

beginnings = st.sampled_from([[], [7] * 20, [7] * 20 + [8] * 30, [9] * 16, [5] * 15])
rows = st.lists(st.tuples(beginnings, st.lists(st.integers(0, 3), max_size=40)).map(lambda pair: pair[0] + pair[1])
                .filter(bool).map(np.array), min_size=1, max_size=8)


@given(rows=rows, shared=st.booleans())
@settings(max_examples=200, deadline=None)
def test_every_row_is_a_path_that_sees_itself_and_nothing_else(rows: list[np.ndarray], shared: bool) -> None:
    forest = Forest.of(rows, shared=shared)
    seen = {token: np.concatenate([np.arange(*span) for span in [*node.above, (node.start, token + 1)]])
            for node in forest.nodes for token in range(node.start, node.end)}
    assert sorted(seen) == list(range(len(forest.ids)))
    for row, places in zip(rows, forest.places, strict=True):
        assert forest.ids[places].tolist() == row.tolist()
        assert forest.positions[places].tolist() == list(range(len(row)))
        for at, place in enumerate(places):
            assert seen[int(place)].tolist() == places[:at + 1].tolist()
    if not shared:
        assert len(forest.ids) == sum(map(len, rows))


def test_what_is_common_is_there_once_and_in_levels() -> None:
    instruction, first, second = np.arange(100, 160), np.arange(200, 230), np.arange(300, 330)
    rows = [np.concatenate([instruction, shot, [n]]) for shot in (first, second) for n in (1, 2, 3)]
    forest = Forest.of(rows)
    assert len(forest.ids) == 60 + 2 * 30 + 6
    assert [len(node.above) for node in forest.nodes] == [0, 1, 2, 2, 2, 1, 2, 2, 2]


def test_what_is_hardly_common_is_not_split() -> None:
    assert len(Forest.of([np.array([1] * 15 + [2]), np.array([1] * 15 + [3])]).nodes) == 2
    assert len(Forest.of([np.array([1] * 16 + [2]), np.array([1] * 16 + [3])]).nodes) == 3


@given(rows=rows, tokens=st.integers(1, 120), shared=st.booleans())
@settings(max_examples=200, deadline=None)
def test_portions_hold_every_row_once_and_no_more_than_is_said(rows: list[np.ndarray], tokens: int,
                                                               shared: bool) -> None:
    portions = in_portions(rows, [len(row) for row in rows], tokens, shared=shared)
    assert sorted(i for portion in portions for i in portion) == list(range(len(rows)))
    for portion in portions:
        size = len(Forest.of([rows[i] for i in portion], shared=shared).ids)
        slack = 15 * len(portion) if shared else 0  # what is hardly common is counted once and computed twice
        assert size <= max(tokens, max(len(rows[i]) for i in portion)) + slack


def test_rows_that_begin_alike_are_computed_together() -> None:
    long, other = np.arange(100), np.arange(200, 300)
    rows = [np.append(beginning, n) for n in range(4) for beginning in (long, other)]
    portions = in_portions(rows, [len(row) for row in rows], 110)
    assert [sorted(portion) for portion in portions] == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("shared", [True, False])
def test_portions_are_as_few_as_fit_and_then_even(shared: bool) -> None:
    rows = [np.arange(100) + 1000 * n for n in range(6)]
    portions = in_portions(rows, [len(row) for row in rows], 500, shared=shared)
    assert [len(portion) for portion in portions] == [3, 3]


@pytest.mark.parametrize("shared", [True, False])
def test_the_largest_portion_comes_first(shared: bool) -> None:
    rows = [np.arange(n) + 1000 * n for n in (5, 90, 30, 60)]
    portions = in_portions(rows, [len(row) for row in rows], 64, shared=shared)
    sizes = [sum(len(rows[i]) for i in portion) for portion in portions]
    assert sizes == sorted(sizes, reverse=True) and portions[0] == [1]
