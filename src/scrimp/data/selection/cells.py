"""Cells of embeddings: k-means by direction, on as many rows as memory holds once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

__all__ = ["Cells", "cells", "unit"]

_LEARNED_FROM = 64   # rows of each cell that centroids are learned from: more of them move a centroid by little
_ROUNDS = 20
_BLOCK = 1 << 24     # elements of the largest [rows, cells] block


@dataclass(frozen=True)
class Cells:
    """Rows dealt to cells, none of them empty.

    Attributes:
        of: int64 [N], the cell of each row.
        centroids: float32 [C, D], the mean direction of each cell's rows, of unit length.
    """

    of: np.ndarray
    centroids: np.ndarray

    def members(self) -> list[np.ndarray]:
        """The rows of each cell, in order."""
        return np.split(np.argsort(self.of, kind="stable"), np.bincount(self.of).cumsum()[:-1])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Float32 vectors of unit length; of zeros, zeros."""
    known = np.asarray(vectors, dtype=np.float32)
    return known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-12)


def cells(vectors: np.ndarray, count: int, *, seed: int = 0) -> Cells:
    """At most ``count`` cells of ``vectors`` [N, D], which may lie on disk: centroids are learned from a sample.

    Every row goes to the centroid that is nearest by direction.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rng = np.random.default_rng(seed)
    learned = np.sort(rng.permutation(len(vectors))[:_LEARNED_FROM * count])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than cells: some stay empty
        found = KMeans(min(count, len(learned)), n_init=1, max_iter=_ROUNDS, random_state=seed).fit(
            unit(vectors[learned]))
    centroids, step = unit(found.cluster_centers_), max(1, _BLOCK // count)
    of = np.concatenate([(unit(vectors[at:at + step]) @ centroids.T).argmax(axis=1)
                         for at in range(0, len(vectors), step)])
    used, of = np.unique(of, return_inverse=True)
    return Cells(of, centroids[used])
