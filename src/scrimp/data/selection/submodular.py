"""Selectors that maximise a submodular function of what is kept: each row adds less the more is there already."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import Field
from scipy.sparse import csc_array

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.cells import unit
from scrimp.data.selection.neighbours import nearest
from scrimp.data.selection.quotas import drawn, quotas

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["FacilityLocation", "GraphCut", "Objective", "Submodular", "lazy_greedy", "stochastic_greedy",
           "taylor_softmax"]

_DENSE = 8192          # rows of the largest pool that is compared whole: 256 MiB in float32
_THINNED = 128         # rows for each kept one, of a larger pool: more of them change the choice by little
_FEWEST, _MOST = 32, 64    # neighbours of a row
_UNCOVERED = 0.9       # of the similarity with its farthest neighbour: what a row counts that no neighbour covers
_MISSED = 0.01         # the chance that a step of stochastic greedy looks at none of the best


class Objective(Protocol):
    """A submodular function of a growing set of rows."""

    def gains(self) -> np.ndarray:
        """What each row alone would add to the empty set, float64 [N]."""

    def gain(self, row: int) -> float:
        """What a row would add now."""

    def add(self, row: int) -> None:
        """Put a row into the set."""


class FacilityLocation:
    """``f(S) = sum over i of max over j in S of s_ij``.

    Args:
        similarities: [N, N], not negative, of what is covered (rows) with what covers (columns); whole, and then
            symmetric, or with only the entries that count.
    """

    def __init__(self, similarities: np.ndarray | csc_array) -> None:
        self._similarities = similarities
        self._best = np.zeros(similarities.shape[0], dtype=np.float32)

    def gains(self) -> np.ndarray:
        """What each row alone would add to the empty set, float64 [N]."""
        return np.asarray(self._similarities.sum(axis=0, dtype=np.float64)).ravel()

    def gain(self, row: int) -> float:
        """What a row would add now."""
        covered, similarity = self._column(row)
        return float(np.maximum(similarity - self._best[covered], 0).sum(dtype=np.float64))

    def add(self, row: int) -> None:
        """Put a row into the set."""
        covered, similarity = self._column(row)
        self._best[covered] = np.maximum(similarity, self._best[covered])

    def _column(self, row: int) -> tuple[slice | np.ndarray, np.ndarray]:
        whole = self._similarities
        if isinstance(whole, np.ndarray):
            return slice(None), whole[row]
        part = slice(whole.indptr[row], whole.indptr[row + 1])
        return whole.indices[part], whole.data[part]


class GraphCut:
    """``f(S) = sum over i and j in S of s_ij - redundancy * sum over i, j in S of s_ij``, ``s = (1 + cosine) / 2``.

    A sum of cosines is the product with a sum of vectors, so that no two rows are ever compared.
    """

    def __init__(self, directions: np.ndarray, redundancy: float) -> None:
        self._directions, self._redundancy = directions, redundancy
        self._relevance = (len(directions) + (directions @ directions.sum(axis=0)).astype(np.float64)) / 2
        self._kept, self._sum = 0, np.zeros(directions.shape[1])

    def gains(self) -> np.ndarray:
        """What each row alone would add to the empty set, float64 [N]."""
        return self._relevance - self._redundancy

    def gain(self, row: int) -> float:
        """What a row would add now."""
        beside = self._kept + float(self._directions[row] @ self._sum)
        return float(self._relevance[row]) - self._redundancy * (beside + 1)

    def add(self, row: int) -> None:
        """Put a row into the set."""
        self._kept += 1
        self._sum += self._directions[row]


class Submodular(Selector):
    """Keep what covers the pool best: greedily the row that adds most to facility location or to graph cut.

    Facility location, ``sum over i of max over kept j of s_ij``, wants something similar for every row; graph cut,
    ``sum over i and kept j of s_ij - redundancy * sum over kept i, j of s_ij``, wants rows that are like the pool and
    unlike one another. Greedy choice reaches ``1 - 1/e`` of the best value where more is never worse. Similarity is the
    cosine, at least 0, or in graph cut moved to between 0 and 1. Pools of more than 8,192 rows are covered on the graph
    of nearest neighbours, after chance has thinned them to 128 rows for each kept one. A row that none of its
    neighbours covers counts nine tenths of its similarity with the farthest of them: something else will be near.

    Nemhauser et al. 1978, "An Analysis of Approximations for Maximizing Submodular Set Functions"; Minoux 1978,
    "Accelerated Greedy Algorithms for Maximizing Submodular Set Functions"; Mirzasoleiman et al. 2015, "Lazier Than
    Lazy Greedy". Renduchintala et al. 2023, "INGENIOUS: Using Informative Data Subsets for Efficient Pre-Training of
    Language Models" covers random parts and draws by ``1 + g + g^2 / 2`` of each row's gain ``g``; Zhou et al. 2023,
    "Dataset Quantization" fills bins by graph cut, each from what the earlier ones left, and draws from all of them
    alike.

    Attributes:
        objective: "facility-location" or "graph-cut".
        redundancy: the weight of likeness among kept rows in graph cut; up to 0.5, more is never worse.
        greedy: "lazy" looks at every row that might be the best, "stochastic" at a few in each step.
        neighbours: of each row, that it can be covered by; None for all in small pools, else for as many as there are
            rows for each kept one, at least 32 and at most 64.
        partitions: parts into which chance deals the pool, each covered by itself.
        bins: filled one after the other until the pool is empty; rows are then drawn from each.
        draw: "best" keeps what is chosen first, "gains" draws from all rows by what they added.
    """

    objective: Literal["facility-location", "graph-cut"] = "facility-location"
    redundancy: float = Field(1.0, ge=0)
    greedy: Literal["lazy", "stochastic"] = "lazy"
    neighbours: int | None = Field(None, ge=1)
    partitions: int = Field(1, ge=1)
    bins: int = Field(1, ge=1)
    draw: Literal["best", "gains"] = "best"

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        indices = self.cover(signals.embeddings(pool), keep, seed=seed)
        return Selection(indices, why=f"covers the pool by {self.objective.replace('-', ' ')}")

    def cost(self) -> Cost:
        return Cost(forward=1)

    def cover(self, vectors: np.ndarray, keep: int, *, seed: int = 0) -> np.ndarray:
        """``keep`` rows of ``vectors`` [N, D], which may lie on disk, those that add most first."""
        rng = np.random.default_rng(seed)
        parts = [np.sort(part) for part in np.array_split(rng.permutation(len(vectors)), self.partitions)]
        sizes = np.array([len(part) for part in parts])
        shares = quotas(sizes / max(1, sizes.sum()), sizes, keep)
        found = [self._of_part(vectors, part, int(share), rng) for part, share in zip(parts, shares, strict=True)]
        kept, gains = (np.concatenate(one) for one in zip(*found, strict=True))
        return kept[np.argsort(-gains, kind="stable")]

    def _of_part(self, vectors: np.ndarray, rows: np.ndarray, keep: int, rng: np.random.Generator
                 ) -> tuple[np.ndarray, np.ndarray]:
        """``keep`` of ``rows``, and what each added."""
        if self.bins > 1:
            return self._of_bins(vectors, rows, keep, rng)
        if self.draw == "best":
            return self._greedily(vectors, rows, keep, rng)
        ordered, gains = self._greedily(vectors, rows, len(rows), rng)
        taken = drawn(taylor_softmax(gains), keep, rng)
        return ordered[taken], gains[taken]

    def _of_bins(self, vectors: np.ndarray, rows: np.ndarray, keep: int, rng: np.random.Generator
                 ) -> tuple[np.ndarray, np.ndarray]:
        sizes = np.array([len(part) for part in np.array_split(rows, self.bins)])
        kept: list[np.ndarray] = []
        for size, share in zip(sizes, quotas(sizes / max(1, len(rows)), sizes, keep), strict=True):
            found, _ = self._greedily(vectors, rows, int(size), rng)
            kept.append(rng.permutation(found)[:share])
            rows = np.setdiff1d(rows, found, assume_unique=True)
        return np.concatenate(kept), np.repeat(-np.arange(self.bins, dtype=float), [len(part) for part in kept])

    def _greedily(self, vectors: np.ndarray, rows: np.ndarray, keep: int, rng: np.random.Generator
                  ) -> tuple[np.ndarray, np.ndarray]:
        if not keep:
            return rows[:0], np.zeros(0)
        if self.objective == "facility-location":
            rows = np.sort(rng.permutation(rows)[:max(_DENSE, _THINNED * keep)])
        function = self._function(vectors if len(rows) == len(vectors) else vectors[rows], keep, rng)
        found, gains = lazy_greedy(function, keep) if self.greedy == "lazy" else \
            stochastic_greedy(function, len(rows), keep, rng)
        return rows[found], gains

    def _function(self, vectors: np.ndarray, keep: int, rng: np.random.Generator) -> Objective:
        if self.objective == "graph-cut":
            return GraphCut(unit(vectors), self.redundancy)
        if self.neighbours is None and len(vectors) <= _DENSE:
            directions = unit(vectors)
            return FacilityLocation((directions @ directions.T).clip(0, 1))
        count = min(len(vectors), self.neighbours or max(_FEWEST, min(_MOST, len(vectors) // keep)))
        graph = nearest(vectors, count, seed=int(rng.integers(1 << 31)))
        above = graph.data.reshape(-1, count)
        above -= _UNCOVERED * above.min(axis=1, keepdims=True)  # all of it, and no row with many copies were covered
        return FacilityLocation(graph.tocsc())


def lazy_greedy(objective: Objective, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """``keep`` rows, always the one that adds most, and what each added; of equals the first.

    What a row once added bounds what it adds later, so only rows whose bound is the largest are looked at again.
    """
    heap = [(-gain, row, -1) for row, gain in enumerate(objective.gains().tolist())]
    heapq.heapify(heap)
    kept, gains = np.zeros(keep, dtype=np.int64), np.zeros(keep)
    for place in range(keep):
        while heap[0][2] < place:  # the bound is of an earlier step
            row = heap[0][1]
            heapq.heapreplace(heap, (-objective.gain(row), row, place))
        gain, kept[place], _ = heapq.heappop(heap)
        gains[place] = -gain
        objective.add(int(kept[place]))
    return kept, gains


def stochastic_greedy(objective: Objective, count: int, keep: int, rng: np.random.Generator
                      ) -> tuple[np.ndarray, np.ndarray]:
    """As `lazy_greedy`, but each step looks only at ``count / keep * ln 100`` rows drawn by chance.

    That is ``N ln 100`` looks in all, however many rows are kept.
    """
    looks, left = math.ceil(count / keep * math.log(1 / _MISSED)), np.arange(count)
    kept, gains = np.zeros(keep, dtype=np.int64), np.zeros(keep)
    for place in range(keep):
        open_ = left[:count - place]
        tried = rng.integers(len(open_), size=min(looks, len(open_)))
        gains[place], at = max(_looked_at(objective, open_, tried))
        kept[place] = open_[at]
        objective.add(int(kept[place]))
        open_[at] = open_[-1]
    return kept, gains


def _looked_at(objective: Objective, rows: np.ndarray, places: np.ndarray) -> Iterator[tuple[float, int]]:
    return ((objective.gain(int(rows[at])), int(at)) for at in places)


def taylor_softmax(gains: np.ndarray) -> np.ndarray:
    """``1 + g + g^2 / 2`` of each gain, as shares of one: flatter than the exponential, and positive everywhere."""
    weights = 1 + gains + gains**2 / 2
    return weights / weights.sum()


preset("facility-location", Submodular)
preset("graph-cut", Submodular, objective="graph-cut")
preset("ingenious", Submodular, papers=(538,), partitions=4, draw="gains")
preset("dataset-quantization", Submodular, papers=(28,), objective="graph-cut", bins=10)
