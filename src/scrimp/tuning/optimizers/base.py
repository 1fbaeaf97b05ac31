"""Three families: an optimizer is built for parameters, a schedule follows the steps, clipping bounds the gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from scrimp.core.registry import Method

__all__ = ["Clipping", "Optimizer", "Schedule"]


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


class Clipping(Method):
    """Bounds the gradient before it is used."""

    family: ClassVar[str] = "clipping"
    verb: ClassVar[str] = "clip"

    def clip(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> float:
        """Bound the gradients in place; returns their norm as it was before, over all parameters."""
        raise NotImplementedError
