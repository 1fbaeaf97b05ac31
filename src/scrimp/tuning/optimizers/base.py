"""Three families: an optimizer is built for parameters, a schedule follows the steps, clipping bounds the gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import nn

from scrimp.core.registry import Cost, Method

__all__ = ["Clipping", "Optimizer", "Schedule", "Stepped", "adam_bytes"]


class Optimizer(Method):
    """Builds a torch optimizer; its state must be tensors and plain numbers, so that it can be saved without pickle."""

    family: ClassVar[str] = "optimizer"
    verb: ClassVar[str] = "build"

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        """The optimizer of these parameters for a run of ``steps`` updates.

        What is drawn at random depends on ``torch.initial_seed()`` alone: the trainer sets it from the plan's seed.
        """
        raise NotImplementedError

    def cost(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Cost:
        """The most ``state_bytes`` that are kept between steps; None where an optimizer does not say."""
        return Cost()


@runtime_checkable
class Stepped(Protocol):
    """A torch optimizer, or a module of the model, that changes with the step.

    What it does depends on the step's number alone, so that a continued run is as an unbroken one.
    """

    def enter_step(self, step: int) -> None:
        """Get ready for update ``step`` (from 0), before its gradient is computed."""


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
    verb: ClassVar[str] = "bound"

    def separable(self) -> bool:
        """Whether each tensor's gradient is bounded by itself, so that the others need not be there."""
        return False

    def bound(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> float:
        """Bound the gradients in place; returns their norm as it was before, over all parameters."""
        raise NotImplementedError


def adam_bytes(parameters: Iterable[torch.Tensor]) -> int:
    """Bytes of Adam's two running means, float32, and of its step count, for each of these."""
    return sum(8 * p.numel() + 4 for p in parameters)
