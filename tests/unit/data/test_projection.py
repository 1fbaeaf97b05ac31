"""Scores of mixtures foreseen from their distance: derivatives, the nearest mixture, and the projection to a size."""

import numpy as np
import pytest

from scrimp.core.errors import DataError
from scrimp.data.selection.projection import Line, Projection, distance, nearest_shares

RNG = np.random.default_rng(0)
SOURCES = [RNG.normal(size=(12, 2)) + centre for centre in ([0, 0], [3, 0], [0, 5])]
EXACT = {"tolerance": 1e-10, "iterations": 5000}


def test_the_derivative_is_that_of_the_distance(monkeypatch):
    monkeypatch.setattr("scrimp.data.selection.transport._mean_cost", lambda *_: 4.0)  # the entropy's weight stays
    target, shares = RNG.normal(size=(9, 2)) + 1, np.array([0.2, 0.5, 0.3])
    slope = distance(SOURCES, target, shares, **EXACT)[1]
    assert slope.sum() == pytest.approx(0)
    for way in ([1, -1, 0], [0.5, 0.5, -1]):
        step = 1e-4 * np.array(way)
        ends = [distance(SOURCES, target, shares + sign * step, **EXACT)[0] for sign in (1, -1)]
        assert slope @ np.array(way) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-4)


@pytest.mark.parametrize("truth", [(0.25, 0.75, 0.0), (0.0, 0.0, 1.0), (0.5, 0.25, 0.25)])
def test_the_mixture_that_the_target_was_drawn_from_is_found(truth):
    drawn = np.repeat(range(3), (np.array(truth) * 40).astype(int))
    target = np.stack([SOURCES[k][i % 12] for i, k in enumerate(drawn)])
    np.testing.assert_allclose(nearest_shares(SOURCES, target, steps=60), truth, atol=0.1)


def test_lines_over_distance_and_the_logarithm_of_the_size_are_gone_along_exactly():
    apart = [1.0, 2.0, 4.0]
    small, large = ([0.5 + 0.1 * np.log(size) - 0.05 * d for d in apart] for size in (10, 40))
    found = Projection((10, 40), (Line.fit(apart, small), Line.fit(apart, large)))
    assert found.at(3.0, 500) == pytest.approx(0.5 + 0.1 * np.log(500) - 0.15)
    assert found.at(2.0, 10) == pytest.approx(small[1])


def test_what_no_line_or_size_can_be_told_from():
    with pytest.raises(DataError, match="two distances"):
        Line.fit([1.0, 1.0], [0.2, 0.3])
    with pytest.raises(DataError, match="smaller first"):
        Projection((40, 10), (Line(0, 0), Line(0, 0)))
