"""What every adapter does: freeze what stays, let the rest move, and keep what moves as float32 masters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from scrimp.core.errors import ModelError
from scrimp.core.registry import Method

__all__ = ["UNUSED", "Adapter", "compute_dtype", "load_trainable_state", "trainable", "trainable_state"]

#: modules that take no part in pooled or token states (an encoder's own pooler): there a gradient would never arrive
UNUSED = re.compile(r"(.*\.)?pooler(\..*)?")


class Adapter(Method):
    """Chooses the parameters that move.

    An adapter implements `move`; `attach` makes it deterministic and gives what moves float32 masters.
    """

    family: ClassVar[str] = "adapter"
    verb: ClassVar[str] = "attach"

    def attach(self, model: nn.Module, *, seed: int = 0) -> nn.Module:
        """``model`` ready to train: what moves requires gradients and is float32, everything else is frozen.

        The trainer runs the forward pass in the precision that ``model`` came with, see `compute_dtype`. New weights
        depend on ``seed`` alone, and the process's random state is left as it was found.

        Raises:
            ModelError: if this model has nothing that can move in this way.
        """
        dtype = compute_dtype(model)
        model.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            moved = self.move(model)
        for parameter in trainable(moved).values():
            parameter.data = parameter.data.float()
        moved.compute_dtype = dtype  # type: ignore[assignment]
        return moved

    def move(self, model: nn.Module) -> nn.Module:
        """Let parameters of the frozen ``model`` move, or wrap it with new ones that do."""
        raise NotImplementedError


def compute_dtype(model: nn.Module) -> torch.dtype:
    """The precision of the forward pass: bfloat16 if the model came with bfloat16 weights, else float32."""
    if (known := getattr(model, "compute_dtype", None)) is not None:
        return known
    halved = any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters())
    return torch.bfloat16 if halved else torch.float32


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that move, by name, in the model's own order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what moves, on the CPU."""
    return {name: p.detach().to("cpu", copy=True).contiguous() for name, p in trainable(model).items()}


def load_trainable_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put back what `trainable_state` copied.

    Raises:
        ModelError: if the names or shapes are not exactly those that move in ``model``; nothing is changed then.
    """
    mine = trainable(model)
    if odd := sorted(set(mine) ^ set(state)):
        raise ModelError("these weights belong to another adapter or model", where=odd[0],
                         why=f"{len(odd)} tensors are on one side only")
    for name, parameter in mine.items():
        if parameter.shape != state[name].shape:
            raise ModelError("these weights belong to another adapter or model", where=name,
                             why=f"the shape is {list(state[name].shape)}, not {list(parameter.shape)}")
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(state[name])
