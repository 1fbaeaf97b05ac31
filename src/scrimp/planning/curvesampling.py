"""Draws from a density of a few parameters that is known up to a factor, as ill-shaped as it may be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["stretched"]

_REACH = 2.0  # how far a step stretches at most


def stretched(log_density: Callable[[np.ndarray], np.ndarray], walkers: np.ndarray, *, steps: int, kept: int,
              rng: np.random.Generator) -> np.ndarray:
    """Let walkers step along the lines between them: no scale is tuned, and correlated parameters are no obstacle.

    Goodman & Weare 2010, "Ensemble samplers with affine invariance".

    Args:
        log_density: parameters [W, P] -> [W]; minus infinity where there is nothing.
        walkers: where they start, [2 H, P].
        steps: of each walker.
        kept: of the last steps, whose places are returned.

    Returns:
        Parameters [kept * 2 H, P].
    """
    places, half, wide = walkers.copy(), len(walkers) // 2, walkers.shape[1]
    density, found = log_density(places), []
    for step in range(steps):
        for moving, others in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
            stretch = (1 + (_REACH - 1) * rng.random(half)) ** 2 / _REACH
            partner = places[others][rng.integers(half, size=half)]
            tried = partner + stretch[:, None] * (places[moving] - partner)
            then = log_density(tried)
            gained = (wide - 1) * np.log(stretch) + then - density[moving]
            taken = np.log(rng.random(half)) < np.nan_to_num(gained, nan=-np.inf, posinf=np.inf)
            places[moving] = np.where(taken[:, None], tried, places[moving])
            density[moving] = np.where(taken, then, density[moving])
        if step >= steps - kept:
            found.append(places.copy())
    return np.concatenate(found)
