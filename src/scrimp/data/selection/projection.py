"""How well a mixture of sources would do, foreseen from small samples by its distance from a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from scrimp.core.errors import DataError
from scrimp.data.selection.transport import transport

__all__ = ["Line", "Projection", "distance", "nearest_shares"]


def distance(sources: Sequence[np.ndarray], target: np.ndarray, shares: np.ndarray,
             **options: Any) -> tuple[float, np.ndarray]:
    """How far a mixture is from the target by optimal transport, and the derivative by each share.

    The derivative by the share of a source is the mean of its rows' dual potentials, less that of all sources, since
    shares sum to one.

    Args:
        sources: samples [N_k, D] of each, with labels as columns where they matter.
        target: samples [M, D].
        shares: of the sources, in sum one.
        options: see `scrimp.data.selection.transport.transport`.
    """
    sizes = [len(source) for source in sources]
    weights = np.repeat(np.asarray(shares) / sizes, sizes)
    found = transport(np.concatenate(sources), target, weights, **options)
    slopes = np.array([part.mean() for part in np.split(found.rows, np.cumsum(sizes)[:-1])])
    return found.value, slopes - slopes.mean()


def nearest_shares(sources: Sequence[np.ndarray], target: np.ndarray, *, steps: int = 30, rate: float = 1.0,
                   **options: Any) -> np.ndarray:
    """The shares of the mixture that is nearest to the target, by steps along the derivative of `distance`.

    A step multiplies each share by ``exp(-rate * derivative / spread of the derivatives)``, halved where it would lead
    farther away.
    """
    shares = np.full(len(sources), 1 / len(sources))
    apart, slope = distance(sources, target, shares, **options)
    for _ in range(steps):
        tried = shares * np.exp(-rate * slope / max(float(np.ptp(slope)), 1e-12))
        tried /= tried.sum()
        value, tried_slope = distance(sources, target, tried, **options)
        if value < apart:
            shares, apart, slope = tried, value, tried_slope
        else:
            rate /= 2
    return shares


@dataclass(frozen=True)
class Line:
    """``score = level + slope * distance``, least squares."""

    level: float
    slope: float

    @classmethod
    def fit(cls, distances: Sequence[float], scores: Sequence[float]) -> Self:
        """Raises: DataError: if fewer than two distances differ."""
        if len(set(distances)) < 2:
            raise DataError("a line needs mixtures at two distances at least")
        slope, level = np.polyfit(distances, scores, 1)
        return cls(float(level), float(slope))

    def at(self, apart: float) -> float:
        """The score foreseen at a distance."""
        return self.level + self.slope * apart


@dataclass(frozen=True)
class Projection:
    """The score of a mixture at any size, from pilots of two sizes.

    At each size the score is a line over the distance; between sizes it goes with the logarithm of the size, which has
    no parameters: ``s(n) = s(a) + (s(b) - s(a)) log(n / a) / log(b / a)``. Kang et al. 2023, "Performance Scaling via
    Optimal Transport: Enabling Data Selection from Partially Revealed Sources" (projektor).

    Attributes:
        sizes: rows of the pilots, a and b.
        lines: at each of them.
    """

    sizes: tuple[int, int]
    lines: tuple[Line, Line]

    def __post_init__(self) -> None:
        if not 0 < self.sizes[0] < self.sizes[1]:
            raise DataError(f"pilots are of two sizes, the smaller first, not {self.sizes}")

    def at(self, apart: float, size: int) -> float:
        """The score foreseen of ``size`` rows of a mixture that is so far from the target."""
        (small, large), (first, second) = self.sizes, (line.at(apart) for line in self.lines)
        return first + (second - first) * float(np.log(size / small) / np.log(large / small))
