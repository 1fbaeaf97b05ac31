"""Selectors by determinantal point processes: the volume that the kept rows span."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.cells import unit

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Determinantal", "greedy_map"]

_SPANNED = 1e-10  # of a row's own entry: less than this is left of those that the kept ones span
_ALIKE = 1e-6     # a mean square distance of rows that differ by rounding only


class Determinantal(Selector):
    """Keep the rows of the largest volume: greedily the one that raises the determinant of their kernel most.

    ``next = argmax over i of det L[S + i]``, with ``L`` the kernel of all rows. A row's share of the determinant is
    what a Cholesky factor of the kept ones leaves of its own entry, and is brought up to date with one new row of that
    factor, so keeping K of N rows takes ``N K (K + D)`` operations and a factor of ``K N`` numbers. Rows that the kept
    ones span add nothing and come last. Chen et al. 2018, "Fast Greedy MAP Inference for Determinantal Point Process to
    Improve Recommendation Diversity"; Kulesza and Taskar 2012, "Determinantal Point Processes for Machine Learning".

    Attributes:
        kernel: "gaussian", ``exp(-distance^2 / (2 width^2))``, or "cosine", whose volumes end at as many rows as the
            embeddings have dimensions.
        width: of the Gaussian, in units of the root mean square distance of two rows.
    """

    kernel: Literal["gaussian", "cosine"] = "gaussian"
    width: float = Field(0.5, gt=0)

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        directions = unit(signals.embeddings(pool)).astype(np.float64)
        indices, volume = greedy_map(self._column_of(directions), len(pool), keep)
        return Selection(indices, why=f"rows that span a large volume; the log determinant is {volume:.4g}")

    def cost(self) -> Cost:
        return Cost(forward=1)

    def _column_of(self, directions: np.ndarray) -> Callable[[int], np.ndarray]:
        """The kernel's columns, each made when it is asked for."""
        if self.kernel == "cosine":
            return lambda row: directions @ directions[row]
        apart = 2 - 2 * float((directions.mean(axis=0) ** 2).sum())  # the mean square distance of two of them
        return lambda row: np.exp(np.minimum(directions @ directions[row] - 1, 0) / max(self.width**2 * apart, _ALIKE))


def greedy_map(column: Callable[[int], np.ndarray], count: int, keep: int) -> tuple[np.ndarray, float]:
    """``keep`` of ``count`` rows, and the logarithm of the determinant of those that no others span.

    Args:
        column: float64 [N], the kernel of a row with all; one with itself.
        count: rows in all.
        keep: rows that are kept; of equals the first.
    """
    left, factor, volume = np.ones(count), np.zeros((keep, count)), 0.0
    kept = np.zeros(keep, dtype=np.int64)
    for place in range(keep):
        row = kept[place] = int(left.argmax())
        if left[row] > _SPANNED:
            volume += float(np.log(left[row]))
            factor[place] = (column(row) - factor[:place, row] @ factor[:place]) / left[row] ** 0.5
            left -= factor[place] ** 2
        left[row] = -np.inf
    return kept, volume


preset("determinantal", Determinantal)
