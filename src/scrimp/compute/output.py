"""Losses of tokens from the states before them, without ever holding the logits of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from scrimp.compute.kernels import Kernels, kernels_for

__all__ = ["token_losses"]

_WIDE = 1 << 26  # numbers of an output layer that are held in float32 at once: 256 MiB


def token_losses(states: torch.Tensor, targets: torch.Tensor, head: nn.Module, *, chunk: int,
                 precise: bool = False) -> torch.Tensor:
    """The cross-entropy of each token, float32 [N], in nats.

    Under a frozen linear output layer the gradient towards the states is taken at once, while a chunk's logits are
    there, in their own memory, and only scaled in the backward pass. Under any other, logits are computed once more.

    Args:
        states: [N, H], each before its token.
        targets: int64 [N], the tokens.
        head: the output layer.
        chunk: tokens whose logits are held at once.
        precise: multiply in float32 where the layer is in bfloat16. Its logits are else known to a hundredth or so,
            which a mean forgives and a sum over an answer does not.
    """
    if _is_frozen_linear(head):
        weight: torch.Tensor = head.weight  # type: ignore[assignment]
        with torch.autocast(states.device.type, enabled=False):
            return _TokenLosses.apply(states, targets, weight, chunk, precise, kernels_for(weight))
    parts = zip(states.split(chunk), targets.split(chunk), strict=True)
    return torch.cat([checkpoint(_losses, s, t, head, use_reentrant=False, preserve_rng_state=False)
                      for s, t in parts] or [states.new_zeros(0, dtype=torch.float32)])


def _is_frozen_linear(head: Any) -> bool:
    return (type(head) is nn.Linear and not head.weight.requires_grad and head.bias is None
            and not head._forward_hooks and not head._forward_pre_hooks)


def _losses(states: torch.Tensor, targets: torch.Tensor, head: nn.Module) -> torch.Tensor:
    return F.cross_entropy(head(states).float(), targets, reduction="none")


def _widened(weight: torch.Tensor) -> Callable[[], Iterator[torch.Tensor]]:
    """The rows of a weight in float32; of a large one a piece at a time, so that there is never a copy of all of it."""
    pieces = weight.split(max(1, _WIDE // weight.shape[1]))
    if len(pieces) > 1:
        return lambda: (piece.float() for piece in pieces)
    whole = weight.float()
    return lambda: iter([whole])


def _product(logits: torch.Tensor, pieces: Iterator[torch.Tensor], width: int) -> torch.Tensor:
    """``logits @ weight``, of the weight's pieces."""
    found = logits.new_zeros(len(logits), width)
    for piece in pieces:
        part, logits = logits[:, :len(piece)], logits[:, len(piece):]
        found.addmm_(part, piece)
    return found


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, chunk: int, precise: bool,
                kernels: Kernels) -> torch.Tensor:
        pieces = _widened(weight) if precise else lambda: iter([weight])
        losses = torch.empty(len(states), dtype=torch.float32, device=states.device)
        towards = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            told = states[part].to(torch.float32 if precise else weight.dtype)
            logits = torch.cat([told @ piece.t() for piece in pieces()], dim=1)
            losses[part] = kernels.cross_entropy(logits, targets[part])
            if towards is not None:
                towards[part] = _product(logits, pieces(), weight.shape[1])
        ctx.save_for_backward(towards)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (towards,) = ctx.saved_tensors
        return (towards * gradients[0][:, None]).to(towards.dtype), None, None, None, None, None
