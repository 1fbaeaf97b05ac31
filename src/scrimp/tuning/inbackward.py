"""The optimizer's step within the backward pass, so that gradients are never all there at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from scrimp.core.errors import OptionError
from scrimp.tuning.guards import DeadGradient
from scrimp.tuning.optimizers import Clipping

__all__ = ["InBackward"]


class InBackward:
    """Moves each tensor as soon as its gradient is there, and drops the gradient.

    What moves is the same to the bit as after the backward pass, as long as that pass is the whole step: a tensor's own
    step needs its own gradient only, and its weights no longer. Saves the gradients of all that moves but the largest
    tensor. Lv et al. 2023, "Full Parameter Fine-tuning for Large Language Models with Limited Resources".

    Args:
        moving: the parameters that move, by name.
        optimizer: of these.
        clipping: bounds each gradient by itself.
        dead: is shown each gradient.

    Attributes:
        norm: of the last pass's gradients. From one that is not finite on, nothing was moved in it.

    Raises:
        OptionError: if the clipping bounds a norm over several tensors.
    """

    def __init__(self, moving: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, clipping: Clipping,
                 dead: DeadGradient) -> None:
        if not clipping.separable():
            raise OptionError("a step in the backward pass cannot clip norms over several tensors",
                              where="step_in_backward", why="their gradients are never all there at once",
                              fix="clip: null, or step_in_backward: false")
        self._moving, self._optimizer, self._clipping, self._dead = moving, optimizer, clipping, dead
        self.norm = 0.0

    @contextmanager
    def moving_by_mean(self, count: float) -> Iterator[None]:
        """Within the block a backward pass, of a loss summed over ``count``, moves what it reaches."""
        self.norm = 0.0
        hooks = [parameter.register_post_accumulate_grad_hook(partial(self._move, name, count))
                 for name, parameter in self._moving.items() if parameter.requires_grad]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _move(self, name: str, count: float, parameter: torch.Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        parameter.grad /= count
        self.norm = math.hypot(self.norm, self._clipping.bound([(name, parameter)]))
        if math.isfinite(self.norm):
            self._dead.look(name)
            self._optimizer.step()  # no other tensor has a gradient now
        parameter.grad = None
