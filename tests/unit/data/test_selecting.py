"""Selectors against brute force, and the check of what any selector gives."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import GuardError
from scrimp.data.selection import KCenter, Random, Selection
from scrimp.data.selection.covering import farthest_first
from scrimp.examples.formats import read

POOL = read([{"text": f"row {i}"} for i in range(6)])


class Known:
    """Signals that are given."""

    def __init__(self, vectors):
        self._vectors = np.asarray(vectors, dtype=np.float32)

    def embeddings(self, rows):
        return self._vectors


def radius(vectors, kept):
    return max(min(np.linalg.norm(v - vectors[j]) for j in kept) for v in vectors)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(4, 9))
def test_no_row_is_farther_than_twice_the_best_possible(seed, keep, count):
    vectors = np.random.default_rng(seed).integers(0, 4, (count, 2)).astype(float)
    kept, worst = farthest_first(vectors, keep)
    assert len(set(kept.tolist())) == keep
    assert worst == pytest.approx(radius(vectors, kept))
    best = min(radius(vectors, tried) for tried in itertools.combinations(range(count), keep))
    assert worst <= 2 * best + 1e-9


def test_it_begins_in_the_middle_and_goes_to_the_ends():
    found = KCenter(distance="euclidean").select(POOL, 3, signals=Known([[0], [1], [2], [3], [4], [9]]))
    assert found.indices.tolist() == [3, 5, 0]
    assert "1 (euclidean)" in found.why


def test_directions_or_places_are_compared():
    vectors = [[1, 0], [2, 0], [9, 0], [0, 1], [0, 2], [1, 1]]
    assert 3 in KCenter().select(POOL, 3, signals=Known(vectors)).indices
    assert 3 not in KCenter(distance="euclidean").select(POOL, 3, signals=Known(vectors)).indices


def test_chance_is_fair():
    drawn = [Random().select(POOL, 2, signals=Known([]), seed=seed).indices for seed in range(600)]
    counts = np.bincount(np.concatenate(drawn), minlength=6)
    assert (abs(counts - 200) < 60).all()


@pytest.mark.parametrize("indices", [[0, 1], [0, 1, 1], [0, 1, 6], [0, 1, -1], [0.0, 1.0, 2.0], [[0], [1], [2]]])
def test_a_selection_that_is_none_is_told_with_who_made_it(indices):
    with pytest.raises(GuardError, match="theirs: the selector did not keep 3 different rows of 6"):
        Selection(np.array(indices)).checked(POOL, 3, by="theirs")
    Selection(np.array([4, 0, 5])).checked(POOL, 3, by="theirs")
