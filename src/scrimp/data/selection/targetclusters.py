"""A selector that keeps the clusters in which rows of a target lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.data.selection.cells import cells, unit
from scrimp.data.selection.scored import Scored
from scrimp.data.selection.target import demanded

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["TargetClusters"]


class TargetClusters(Scored):
    """Score a row by the share of the target's rows that lie in its cluster.

    Clusters are those of k-means over directions of the pool's embeddings; a row of the target lies in the one whose
    centroid is nearest. The image filter of Gadre et al. 2023, "DataComp: In search of the next generation of
    multimodal datasets", which keeps all rows of clusters with at least one.

    Attributes:
        clusters: of the pool; None for the square root of its rows.
    """

    clusters: int | None = Field(None, ge=1)

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        wanted = demanded(target, self.name)
        found = cells(signals.embeddings(pool), self.clusters or round(len(pool) ** 0.5), seed=seed)
        nearest = (unit(signals.embeddings(wanted)) @ found.centroids.T).argmax(axis=1)
        return np.bincount(nearest, minlength=len(found.centroids))[found.of] / len(wanted)

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0}


preset("target-clusters", TargetClusters)
