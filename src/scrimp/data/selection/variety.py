"""A selector that keeps rows which stretch far along what rows differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.data.selection.scored import Scored

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Variety", "variety"]

_LEAST = 1e-8  # of an axis, against the longest: what is less is rounding


class Variety(Scored):
    """Score a row by how far it lies from the middle of the pool, along the axes in which rows differ most.

    With the principal components ``z_1 ... z_k`` of a row's centred embedding: their variance within the row (Xu et al.
    2023, "Rethinking the Instruction Quality: LIFT is What You Need"), or its leverage ``sum_j z_j^2 / sum_i z_ij^2``,
    in which every axis counts alike.

    Attributes:
        components: how many axes, at most.
        measure: "variance", or "leverage".
    """

    components: int = Field(default=32, ge=1)
    measure: Literal["variance", "leverage"] = "variance"

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        return variety(self.embedded(pool, signals), self.components, leverage=self.measure == "leverage")

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0}


def variety(vectors: np.ndarray, components: int, *, leverage: bool = False) -> np.ndarray:
    """Of each row of ``vectors`` [N, D]: see `Variety`; zeros where all rows are alike."""
    left, sizes, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    used = (sizes > _LEAST * max(1.0, sizes[0])) & (np.arange(len(sizes)) < components)
    if not used.any():
        return np.zeros(len(vectors))
    return np.square(left[:, used]).sum(axis=1) if leverage else (left[:, used] * sizes[used]).var(axis=1)


preset("variety", Variety)
