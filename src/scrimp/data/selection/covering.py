"""Selectors that cover the pool: no row is far from one that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["KCenter", "farthest_first"]


class KCenter(Selector):
    """Keep the row that is farthest from all that are kept, again and again, so that every row has one near by.

    ``next = argmax over i of min over kept j of ||x_i - x_j||``, from the row nearest to the mean. The farthest row's
    distance is then at most twice what any choice of as many rows could reach. Gonzalez 1985, "Clustering to Minimize
    the Maximum Intercluster Distance"; Sener and Savarese 2018, "Active Learning for Convolutional Neural Networks: A
    Core-Set Approach".

    Attributes:
        distance: "cosine" compares directions of embeddings, "euclidean" the embeddings.
    """

    distance: Literal["cosine", "euclidean"] = "cosine"

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        vectors = signals.embeddings(pool).astype(np.float64)
        if self.distance == "cosine":
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        indices, radius = farthest_first(vectors, keep)
        return Selection(indices, why=f"no row is farther than {radius:.3g} ({self.distance}) from one that is kept")

    def cost(self) -> Cost:
        return Cost(forward=1)


def farthest_first(vectors: np.ndarray, keep: int) -> tuple[np.ndarray, float]:
    """``keep`` rows of float64 ``vectors`` [N, D], and how far the row that is worst off is from them.

    Of equally far rows the first is taken.
    """
    apart = np.full(len(vectors), np.inf)
    kept = np.zeros(keep, dtype=np.int64)
    following = int(np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).argmin()) if keep else 0
    for place in range(keep):
        kept[place] = following
        apart = np.minimum(apart, np.linalg.norm(vectors - vectors[following], axis=1))
        apart[following] = -np.inf  # a row is kept once, whatever stands beside it
        following = int(apart.argmax())
    return kept, max(0.0, float(apart.max(initial=0.0)))


preset("k-center", KCenter)
