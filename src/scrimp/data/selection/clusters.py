"""Selectors that share what is kept among groups of rows, and choose within each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from scipy.special import softmax

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.cells import Cells, cells, unit
from scrimp.data.selection.quotas import drawn, quotas
from scrimp.data.selection.submodular import GraphCut, Submodular, lazy_greedy, taylor_softmax

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Clusters", "complexity", "reweighted"]

_NEAR = 20  # other centroids that tell how far a cluster lies from the rest


class Clusters(Selector):
    """Deal what is kept to clusters of the pool, at least one row to each where there are enough, and choose in each.

    Clusters are the labels of the pool or come from k-means on directions of embeddings. Quotas ``N_j`` of shares
    ``p_j`` minimise ``sum of (N_j - keep p_j)^2`` with ``sum of N_j = keep`` and ``1 <= N_j <= size_j``.

    Abbas et al. 2024, "Effective pruning of web-scale datasets based on complexity of concept clusters": shares by
    ``softmax(d_inter d_intra / temperature)``, the distance of a cluster from its neighbours times its spread, and the
    rows farthest from the centroid; with shares by size, Sorscher et al. 2022, "Beyond neural scaling laws". Yu et al.
    2024, "Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement": shares by size, and draws
    by quality; `reweighted` gives the shares of its next round. Renduchintala et al. 2024, "SMART: Submodular Data
    Mixture Strategy for Instruction Tuning": shares by what each task adds to the graph cut of all, and facility
    location within.

    Attributes:
        groups: "k-means", or "labels" of the pool; k-means too where it has fewer than two labels.
        clusters: of k-means; None for the square root of the pool's rows.
        quota: "size" of the cluster, "equal", "complexity", or "graph-cut", by what each adds to a cover of all.
        temperature: of complexity; lower ones favour complex clusters more.
        redundancy: the weight of likeness among clusters in graph cut.
        within: "random", "nearest" to the centroid or "farthest" from it, "quality" for draws by the inverse
            perplexity of each row under the language model, or "facility-location".
    """

    groups: Literal["k-means", "labels"] = "k-means"
    clusters: int | None = Field(None, ge=1)
    quota: Literal["size", "equal", "complexity", "graph-cut"] = "size"
    temperature: float = Field(0.1, gt=0)
    redundancy: float = Field(0.4, ge=0, le=0.5)
    within: Literal["random", "nearest", "farthest", "quality", "facility-location"] = "random"

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        if not keep:
            return Selection(np.zeros(0, dtype=np.int64), why="nothing was asked for")
        vectors = signals.embeddings(pool)
        quality = inverse_perplexity(pool, signals) if self.within == "quality" else None
        labels = [row.get("label", "") for row in pool] if self.groups == "labels" and len(pool.labels) > 1 else None
        groups = self.grouped(vectors, labels, seed=seed)
        shares = quotas(self.shares(vectors, groups), np.bincount(groups.of), keep)
        indices = self.choose(vectors, groups, shares, quality=quality, seed=seed)
        return Selection(indices, why=f"{shares.min()} to {shares.max()} rows of each of {len(shares)} clusters, "
                                      f"by {self.quota}")

    def cost(self) -> Cost:
        return Cost(forward=2 if self.within == "quality" else 1)

    def grouped(self, vectors: np.ndarray, labels: list[str] | None = None, *, seed: int = 0) -> Cells:
        """The clusters of rows: their labels, or by k-means."""
        if labels is None:
            return cells(vectors, self.clusters or round(len(vectors) ** 0.5), seed=seed)
        of = np.unique(labels, return_inverse=True)[1]
        return Cells(of, unit(np.stack([unit(vectors[of == group]).mean(axis=0) for group in range(of.max() + 1)])))

    def shares(self, vectors: np.ndarray, groups: Cells) -> np.ndarray:
        """The share of each cluster in what is kept, of one, before it is bounded by the cluster's size."""
        if self.quota == "complexity":
            return softmax(complexity(vectors, groups) / self.temperature)
        if self.quota == "graph-cut":
            order, gains = lazy_greedy(GraphCut(groups.centroids, self.redundancy), len(groups.centroids))
            return taylor_softmax(gains)[np.argsort(order)]
        weights = np.bincount(groups.of) if self.quota == "size" else np.ones(len(groups.centroids))
        return weights / weights.sum()

    def choose(self, vectors: np.ndarray, groups: Cells, shares: np.ndarray, *, quality: np.ndarray | None = None,
               seed: int = 0) -> np.ndarray:
        """``shares[j]`` rows of each cluster j, the first of all clusters before the second of any.

        Args:
            vectors: of the pool, [N, D].
            groups: its clusters.
            shares: how many rows of each; see `quotas`.
            quality: float [N], not negative, by which rows are drawn within a cluster where ``within`` is "quality".
            seed: of every draw.
        """
        rng = np.random.default_rng(seed)
        kept = [rows[self._order(vectors[rows], groups.centroids[j], int(shares[j]),
                                 quality if quality is None else quality[rows], rng)]
                for j, rows in enumerate(groups.members())]
        turns = np.concatenate([np.arange(len(rows)) for rows in kept])
        return np.concatenate(kept)[np.argsort(turns, kind="stable")]

    def _order(self, vectors: np.ndarray, centroid: np.ndarray, keep: int, quality: np.ndarray | None,
               rng: np.random.Generator) -> np.ndarray:
        """Places of the rows of one cluster that are kept, the best first."""
        if self.within == "facility-location":
            return Submodular.parse({}).cover(vectors, keep, seed=int(rng.integers(1 << 31)))
        if self.within in ("nearest", "farthest"):
            away = 1 - unit(vectors) @ centroid
            return np.argsort(away if self.within == "nearest" else -away, kind="stable")[:keep]
        return drawn(np.ones(len(vectors)) if quality is None else quality, keep, rng)


def complexity(vectors: np.ndarray, groups: Cells) -> np.ndarray:
    """``d_inter * d_intra`` of each cluster, float64 [C]; distances are one minus the cosine.

    ``d_inter`` is the mean distance of its centroid to the 20 nearest others, ``d_intra`` that of its rows to it.
    """
    apart = np.sort(1 - groups.centroids @ groups.centroids.T, axis=1)[:, 1:1 + _NEAR]
    spread = [float((1 - unit(vectors[rows]) @ groups.centroids[j]).mean()) for j, rows in enumerate(groups.members())]
    return (apart.mean(axis=1) if apart.size else np.ones(1)) * np.array(spread)


def reweighted(shares: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """The shares of clusters in the next round: each times the mean quality of its last answers, of one again.

    Clusters whose rows teach nothing fade from round to round.

    Args:
        shares: float [C], of this round.
        quality: float [C], not negative, of what the model that was tuned on this round's rows answers in each.
    """
    weights = shares * quality
    return weights / weights.sum() if weights.sum() > 0 else shares


def inverse_perplexity(pool: Examples, signals: Signals) -> np.ndarray:
    """``exp`` of the mean log-probability of each row's answer under the language model, float64 [N]."""
    loaded = signals.language()
    losses = signals.losses(loaded.model, signals.encoded(pool, loaded))
    return np.exp([float(row.log_probability.mean()) for row in losses])


preset("cluster-quotas", Clusters)
preset("cluster-prototypes", Clusters, within="farthest")
preset("complexity-pruning", Clusters, papers=(26,), quota="complexity", within="farthest")
preset("kmq", Clusters, papers=(55,), within="quality")
preset("smart", Clusters, papers=(147,), groups="labels", quota="graph-cut", within="facility-location")
