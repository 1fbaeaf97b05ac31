"""Selectors that keep rows whose gradients would move a model where those of a target would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from torch import nn

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection
from scrimp.data.selection.target import best_first, demanded, directions
from scrimp.data.selection.warmup import WarmedUp
from scrimp.examples.records import Layout

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.examples.templates import Encoded
    from scrimp.signals import Signals
    from scrimp.signals.gradients import Moments

__all__ = ["GradientSimilarity", "influence"]

_LORA = r".*\.lora_[AB]\..*"


class GradientSimilarity(WarmedUp):
    """Keep the rows from which an optimizer step leads where a step on the target would.

    LoRA is warmed up on a share of the pool. With the learning rate ``r_t`` and the gradients after epoch t, ``g`` of a
    sub-task of the target (the mean over its rows) and ``d`` of a row, as Adam would move for it,
    ``s(row) = max over sub-tasks of sum_t r_t cos(P g_t, P d_t)``, where P is a random projection. Xia et al. 2024,
    "LESS: Selecting Influential Data for Targeted Instruction Tuning".

    Attributes:
        direction: of a row: where "adam" would move for it, or its gradient, as in "sgd".
        subtasks: what is one sub-task of the target: the rows of one "label" (without labels, all), those of one
            "source" file, each "row", or "all".
        width: numbers that are kept of each gradient.
    """

    direction: Literal["adam", "sgd"] = "adam"
    subtasks: Literal["label", "source", "row", "all"] = "label"
    width: int = Field(default=512, ge=1)

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        wanted = demanded(target, self.name)
        loaded, rows, aims = signals.language(), signals.encoded(pool), signals.encoded(wanted)
        members, stages = self._members(wanted), []
        with self.stages(loaded, rows, signals.meter, seed) as (model, after):
            for stage in after:
                stage.enter(model)
                goals = signals.gradients(model, aims, parameters=_LORA, width=self.width, seed=seed).projected
                stages.append((stage.rate, self._moves(model, rows, signals, stage.adam, seed),
                               np.stack([goals[rows_of].mean(axis=0) for rows_of in members])))
        scores = influence(stages)
        return Selection(best_first(scores, keep), scores,
                         why=f"their steps go with those of the target's {len(members)} sub-tasks, "
                             f"at {len(stages)} stages of the training")

    def cost(self) -> Cost:
        return Cost(forward=self.epochs * (1 + self.share), backward=self.epochs * (1 + self.share))

    def _moves(self, model: nn.Module, rows: Sequence[Encoded], signals: Signals, adam: Moments,
               seed: int) -> np.ndarray:
        return signals.gradients(model, rows, parameters=_LORA, width=self.width, seed=seed,
                                 moments=adam if self.direction == "adam" else None).projected

    def _members(self, wanted: Examples) -> list[list[int]]:
        """The rows of each sub-task."""
        if self.subtasks == "label" and wanted.layout is Layout.LABEL:
            named = [row.get("label", "") for row in wanted.rows]
        elif self.subtasks == "source":
            named = [source.rpartition(":")[0] for source in wanted.sources]
        else:
            named = [str(i) if self.subtasks == "row" else "" for i in range(len(wanted))]
        return [[i for i, name in enumerate(named) if name == one] for one in dict.fromkeys(named)]


def influence(stages: Sequence[tuple[float, np.ndarray, np.ndarray]]) -> np.ndarray:
    """``max over j of sum over stages of rate * cos(row, goal_j)``, float64 [N].

    Args:
        stages: of each, the learning rate, the moves of the rows [N, W] and the gradients of the sub-tasks [T, W].
    """
    total = sum(rate * (directions(moves.astype(np.float64)) @ directions(goals.astype(np.float64)).T)
                for rate, moves, goals in stages)
    return np.asarray(total).max(axis=1)


preset("less", GradientSimilarity, papers=(10,))
