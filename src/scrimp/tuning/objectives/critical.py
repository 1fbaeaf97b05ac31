"""Only what matters of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from torch import nn

from scrimp.core.registry import Cost, preset
from scrimp.signals.losses import losses
from scrimp.tuning.objectives.sft import SFT

if TYPE_CHECKING:
    from scrimp.core.budget import Meter
    from scrimp.examples.templates import Encoded

__all__ = ["CriticalSteps"]


class CriticalSteps(SFT):
    """Learn the steps of a trajectory that the model is not sure of, with all the others before its eyes.

    A step is a run of trained tokens between tokens that are not trained: of a chat, a turn of the assistant. Under the
    model that training begins with each step has a mean loss; of each example the steps of the highest are learned
    until they hold the share ``critical`` of its trained tokens, one step at least. They are found once, in a forward
    pass that is billed, and the loss is the cross-entropy of their tokens. Chen et al. 2025, "ATLaS: Agent Tuning via
    Learning Critical Steps", where a large language model names them; where that is at hand, its mask is what rows mark
    as trained, and the objective is ``sft``.

    Attributes:
        critical: share of an example's trained tokens that is learned.
        unit: what is chosen: steps, or single tokens.
        chunk: predicted tokens whose logits are held at once.
    """

    critical: float = Field(default=0.3, gt=0, le=1)
    unit: Literal["step", "token"] = "step"

    def prepare(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
                meter: Meter | None = None) -> list[Encoded]:
        single = super().prepare(model, data, pad_id=pad_id, micro_tokens=micro_tokens, meter=meter)
        found = losses(model, single, meter=meter)
        return [replace(row, trained=self.narrowed(row.trained, -told.log_probability))
                for row, told in zip(single, found, strict=True)]

    def narrowed(self, trained: Sequence[bool], losses: np.ndarray) -> list[bool]:
        """The mask of what is learned, of that of what might be and the losses [T] of its tokens after the first."""
        places = np.flatnonzero(np.asarray(trained[1:])) + 1
        breaks = np.diff(places) > 1 if self.unit == "step" else np.ones(max(len(places) - 1, 0), bool)
        steps = np.split(np.arange(len(places)), np.flatnonzero(breaks) + 1)
        mask, left = [False] * len(trained), self.critical * len(places)
        for step in sorted(filter(len, steps), key=lambda step: -losses[step].mean()):
            if left <= 0:
                break
            left -= len(step)
            for place in places[step]:
                mask[place] = True
        return mask

    def cost(self) -> Cost:
        return Cost(forward=2, backward=1)


preset("critical-steps", CriticalSteps, papers=(219,))
preset("critical-tokens", CriticalSteps, papers=(219,), unit="token")
