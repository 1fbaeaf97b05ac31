"""A short training before rows are chosen, and the model as it was after each of its epochs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import nn

from scrimp.core.budget import Meter
from scrimp.data.selection.base import Selector
from scrimp.signals.gradients import Moments
from scrimp.tuning.adapters.base import trainable
from scrimp.tuning.optimizers.base import Optimizer
from scrimp.tuning.plan import TunePlan

if TYPE_CHECKING:
    from scrimp.checkpoints.loading import Loaded
    from scrimp.examples.templates import Encoded

__all__ = ["Stage", "WarmedUp"]


@dataclass(frozen=True)
class Stage:
    """A model after an epoch.

    Attributes:
        weights: what moves, by name.
        rate: the mean learning rate of the epoch.
        adam: the optimizer's state.
    """

    weights: dict[str, torch.Tensor]
    rate: float
    adam: Moments

    def enter(self, model: nn.Module) -> None:
        """Give ``model`` these weights."""
        for name, value in trainable(model).items():
            value.data.copy_(self.weights[name])


class WarmedUp(Selector):
    """Looks at the pool with a model that has begun to learn it.

    Attributes:
        share: of the pool, drawn by chance, that LoRA is trained on first.
        epochs: of that training; after each the model is asked.
        rank: of LoRA, on each linear layer.
        learning_rate: of AdamW, falling to zero along a line.
        batch_size: rows of a step.
    """

    share: float = Field(default=0.05, gt=0, le=1)
    epochs: int = Field(default=4, ge=1)
    rank: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    batch_size: int = Field(default=8, ge=1)

    @contextmanager
    def stages(self, loaded: Loaded, encoded: Sequence[Encoded], meter: Meter,
               seed: int) -> Iterator[tuple[nn.Module, list[Stage]]]:
        """The model with its adapter, and its stages; ``loaded`` is as it was after the block.

        Raises:
            ScrimpError: as training does.
        """
        moving = [value.requires_grad for value in loaded.model.parameters()]
        drawn = np.random.default_rng(seed).permutation(len(encoded))[:math.ceil(self.share * len(encoded))]
        plan = TunePlan.parse({"adapter": "lora", "rank": self.rank, "learning_rate": self.learning_rate,
                               "schedule": "linear", "epochs": self.epochs, "batch_size": self.batch_size,
                               "seed": seed})
        try:
            model: Any = plan.attach(loaded.model)
            try:
                yield model, _trained(plan, model, [encoded[i] for i in np.sort(drawn)], loaded.pad_id, meter)
            finally:
                model.unload()
        finally:
            for value, moved in zip(loaded.model.parameters(), moving, strict=True):
                value.requires_grad_(moved)
            loaded.model.eval()


class _Watched(Optimizer):
    """Another optimizer, whose state can be read while it is used."""

    _method: Optimizer = PrivateAttr()
    _made: torch.optim.Optimizer = PrivateAttr()

    @classmethod
    def of(cls, method: Optimizer) -> _Watched:
        made = cls()
        made._method, made._name = method, method.name
        return made

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        self._made = self._method.build(named_parameters, steps)
        return self._made

    def state(self, moving: dict[str, nn.Parameter]) -> Moments | None:
        """Adam's, of the parameters by name; None before the first step."""
        found = {name: self._made.state[value] for name, value in moving.items() if value in self._made.state}
        if not found:
            return None
        group = self._made.param_groups[0]
        return Moments({name: one["exp_avg"].clone() for name, one in found.items()},
                       {name: one["exp_avg_sq"].clone() for name, one in found.items()},
                       int(max(float(one["step"]) for one in found.values())), tuple(group["betas"]), group["eps"])


def _trained(plan: TunePlan, model: nn.Module, rows: Sequence[Encoded], pad_id: int, meter: Meter) -> list[Stage]:
    """Train, and keep what moves after each epoch."""
    watched, moving, stages = _Watched.of(plan.optimizer), trainable(model), list[Stage]()
    steps = plan.options.epochs * math.ceil(len(rows) / plan.options.batch_size)

    def look() -> float:
        adam = watched.state(moving)
        if adam is not None and adam.step > (stages[-1].adam.step if stages else 0):
            begun = stages[-1].adam.step if stages else 0
            factors = [plan.schedule.factor(step, steps) for step in range(begun, adam.step)]
            stages.append(Stage({name: value.detach().clone() for name, value in moving.items()},
                                float(np.mean(factors)) * plan.optimizer.learning_rate, adam))  # type: ignore[attr-defined]
        return -float(len(stages))  # no epoch is worse than the one before: the trainer has nothing to go back to

    with tempfile.TemporaryDirectory() as folder:
        replace(plan, optimizer=watched).train(model, rows, pad_id=pad_id, folder=Path(folder), meter=meter,
                                               validate=look)
    return stages
