"""The two families: an optimizer is built for named parameters, a schedule is a pure function of the step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from scrimp.core.registry import Method

__all__ = ["Optimizer", "Schedule"]


class Optimizer(Method):
    """Builds a torch optimizer; its state must be tensors and plain numbers, so that it can be saved without pickle."""

    family: ClassVar[str] = "optimizer"
    verb: ClassVar[str] = "build"

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        """The optimizer of these parameters for a run of ``steps`` updates."""
        raise NotImplementedError


class Schedule(Method):
    """Multiplies the learning rate."""

    family: ClassVar[str] = "schedule"
    verb: ClassVar[str] = "factor"

    def factor(self, step: int, steps: int) -> float:
        """The factor of update ``step`` (from 0) in a run of ``steps`` updates; ``step == steps`` is the end."""
        raise NotImplementedError
