"""Recomputation: of each layer only its input is kept, and the rest is computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from scrimp.compute.replacing import replaced
from scrimp.core.errors import ModelError

__all__ = ["recomputed"]


@contextmanager
def recomputed(model: nn.Module, *, wanted: bool = True) -> Iterator[None]:
    """Within the block the layers of ``model`` keep nothing but their input for the backward pass.

    Memory falls from all that the layers keep to their inputs and what one of them keeps; a step computes each layer
    forward twice. Random states and autocast are those of the first time, so that gradients are the same to the bit.
    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".

    Args:
        model: with an adapter attached; its layers are those that transformers marks as such.
        wanted: whether to do it at all.

    Raises:
        ModelError: if it has no such layers.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[Any] = [m for m in model.modules() if wanted and isinstance(m, GradientCheckpointingLayer)]
    if wanted and not layers:
        raise ModelError("this model has no layers that could be recomputed", fix="recompute: false")
    with replaced({layer: _recomputed(layer.forward) for layer in layers}):
        yield


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def twice(*args: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **named)
        return checkpoint(forward, *args, use_reentrant=False, **named)

    return twice
