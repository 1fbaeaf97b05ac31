"""How many rows of each group to keep, and draws by weight."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

__all__ = ["drawn", "quotas"]


def quotas(shares: np.ndarray, sizes: np.ndarray, keep: int) -> np.ndarray:
    """``keep`` rows dealt to groups, int64 [G]: near to ``shares`` of them, at least one where there are enough.

    The least ``sum of (N_j - keep * share_j)^2`` with ``sum of N_j = keep`` and ``1 <= N_j <= size_j``. Without whole
    numbers it is solved by ``keep * share_j + m``, cut to the bounds, with the one ``m`` that makes the sum right; the
    largest fractions are then rounded up.

    Args:
        shares: float [G], of one.
        sizes: int [G], rows of each group; their sum is at least ``keep``.
        keep: rows in all.
    """
    low, wanted = (sizes > 0) & (keep >= (sizes > 0).sum()), keep * np.asarray(shares, dtype=float)

    def cut(more: float) -> np.ndarray:
        return np.clip(wanted + more, low, sizes)

    reach = float(np.abs(wanted).max(initial=0) + sizes.max(initial=0)) + 1
    exact = cut(brentq(lambda more: cut(more).sum() - keep, -reach, reach, xtol=1e-12))
    whole = np.floor(exact + 1e-9)
    rest = keep - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole.astype(np.int64)


def drawn(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` different places of ``weights`` [N], each next one by chance in proportion to its weight."""
    waits = rng.exponential(size=len(weights)) / np.maximum(weights, 1e-300)
    return np.argsort(waits, kind="stable")[:count]
