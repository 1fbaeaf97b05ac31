"""Selectors that keep what lies nearest to rows of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scrimp.core.errors import OptionError
from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Similarity", "best_first", "dealt", "demanded", "directions"]


class Similarity(Selector):
    """Keep the rows whose vectors point where those of the target rows point.

    ``s_ij = cos(x_i, t_j)`` of row i and target row j. Dealt in turns, each target row takes the row that is nearest to
    it of those left, again and again, so that a target of several kinds is served as a whole; else a row counts by the
    mean or the highest of its similarities. Ivison et al. 2025, "Large-Scale Data Selection for Instruction Tuning"
    (RDS+: states of the base model, weighted by position, in turns).

    Attributes:
        space: what is compared: "states" of the language model over the whole row, answer included, or "embeddings" of
            what the row asks by the sentence encoder.
        pooling: of the states: the mean, the mean weighted by position, or the last one.
        order: by what rows are kept: in "turns" of the target rows, or by the "mean" or "highest" similarity.
    """

    space: Literal["states", "embeddings"] = "states"
    pooling: Literal["position", "mean", "last"] = "position"
    order: Literal["turns", "mean", "highest"] = "turns"

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        wanted = demanded(target, self.name)
        rows, aims = (directions(self._vectors(part, signals)) for part in (pool, wanted))
        similar = rows @ aims.T
        scores = (similar.mean(axis=1) if self.order == "mean" else similar.max(axis=1)).astype(np.float64)
        kept = dealt(similar, keep) if self.order == "turns" else best_first(scores, keep)
        return Selection(kept, scores, why=f"{_mean(scores[kept]):.3f} like the {len(wanted)} rows of the target; "
                                           f"the pool is {_mean(scores):.3f} (cosine)")

    def cost(self) -> Cost:
        return Cost(forward=1)

    def _vectors(self, rows: Examples, signals: Signals) -> np.ndarray:
        return signals.states(rows, pooling=self.pooling) if self.space == "states" else signals.embeddings(rows)


def demanded(target: Examples | None, by: str) -> Examples:
    """The target that the method ``by`` cannot do without.

    Raises:
        OptionError: there is none, or it is empty.
    """
    if target is None or not len(target):
        raise OptionError(f"'{by}' chooses toward a target, and there is none", where="target",
                          fix="give rows of what the model is to be good at")
    return target


def directions(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length; those of no length stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def best_first(scores: np.ndarray, keep: int) -> np.ndarray:
    """The ``keep`` highest of ``scores`` [N]; of equal ones the first."""
    return np.argsort(-scores, kind="stable")[:keep]


def dealt(similar: np.ndarray, keep: int) -> np.ndarray:
    """``keep`` rows of ``similar`` [N, T]: each of T takes its highest of those that are left, in turns.

    None can need more of its list than ``keep``.
    """
    count, takers = similar.shape
    lists = [iter(best_first(similar[:, j], keep).astype(np.int32)) for j in range(min(takers, keep))]
    taken, free = np.zeros(keep, dtype=np.int64), np.ones(count, dtype=bool)
    for turn in range(keep):
        row = next(i for i in lists[turn % takers] if free[i])
        taken[turn], free[row] = row, False
    return taken


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


preset("rds", Similarity, papers=(52,))
preset("nearest", Similarity, space="embeddings", order="mean")
