"""What no other is better than in everything: the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scrimp.core.errors import DataError

__all__ = ["front"]


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Places of the points that none beats: none is as good in every respect and better in one. Equals stay together.

    Args:
        points: of each, its values in the same respects; higher is better.

    Raises:
        DataError: if a value is no number, or points have different respects.
    """
    if len({len(point) for point in points}) > 1:
        raise DataError("points of a front have the same respects", why=f"of {sorted({len(p) for p in points})} values")
    if any(math.isnan(value) for point in points for value in point):
        raise DataError("a front needs a number in every respect", fix="leave out what was not measured")
    return [place for place, one in enumerate(points) if not any(_beats(other, one) for other in points)]


def _beats(other: Sequence[float], one: Sequence[float]) -> bool:
    pairs = list(zip(other, one, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
