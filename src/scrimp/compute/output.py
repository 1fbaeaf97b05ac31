"""Losses of tokens from the states before them, without ever holding the logits of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from scrimp.compute.kernels import Kernels, kernels_for

__all__ = ["summed_loss", "token_losses"]

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
    if _is_linear(head) and not head.weight.requires_grad:
        weight: torch.Tensor = head.weight  # type: ignore[assignment]
        with torch.autocast(states.device.type, enabled=False):
            return _TokenLosses.apply(states, targets, weight, chunk, precise, kernels_for(weight))
    parts = zip(states.split(chunk), targets.split(chunk), strict=True)
    return torch.cat([checkpoint(_losses, s, t, head, use_reentrant=False, preserve_rng_state=False)
                      for s, t in parts] or [states.new_zeros(0, dtype=torch.float32)])


def summed_loss(states: torch.Tensor, targets: torch.Tensor, head: nn.Module, *, chunk: int) -> torch.Tensor:
    """The sum of `token_losses`, a float32 scalar; under a linear output layer that moves no logits come twice."""
    if not _is_linear(head) or not head.weight.requires_grad:
        return token_losses(states, targets, head, chunk=chunk).sum()
    weight: torch.Tensor = head.weight  # type: ignore[assignment]
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    with torch.autocast(kind, enabled=False):
        return _SummedLoss.apply(states, targets, weight, dtype, chunk)


def _is_linear(head: Any) -> bool:
    return (type(head) is nn.Linear and head.bias is None and not head._forward_hooks
            and not head._forward_pre_hooks)


def _losses(states: torch.Tensor, targets: torch.Tensor, head: nn.Module) -> torch.Tensor:
    return F.cross_entropy(head(states).float(), targets, reduction="none")


def _widened(weight: torch.Tensor) -> Callable[[], Iterator[torch.Tensor]]:
    """The rows of a weight in float32; of a large one a piece at a time, so that there is never a copy of all of it."""
    pieces = weight.split(max(1, _WIDE // weight.shape[1]))
    if len(pieces) > 1:
        return lambda: (piece.float() for piece in pieces)
    whole = weight.float()
    return lambda: iter([whole])


def _logits(states: torch.Tensor, pieces: Iterator[torch.Tensor]) -> torch.Tensor:
    """``states @ weight.T``, of the weight's pieces."""
    found = [states @ piece.t() for piece in pieces]
    return torch.cat(found, dim=1) if len(found) > 1 else found[0]  # one is not copied


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
            logits = _logits(told, pieces())
            losses[part] = kernels.cross_entropy(logits, targets[part])
            if towards is not None:
                towards[part] = _product(logits, pieces(), weight.shape[1])
        ctx.save_for_backward(towards)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (towards,) = ctx.saved_tensors
        return (towards * gradients[0][:, None]).to(towards.dtype), None, None, None, None, None


class _SummedLoss(torch.autograd.Function):
    """Takes both gradients with the loss: it is a plain sum, which the backward pass can but scale."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype,
                chunk: int) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        cast, wanted = weight.to(dtype), any(ctx.needs_input_grad)
        kernels = kernels_for(cast)
        towards, for_weight = torch.empty_like(states), torch.zeros_like(weight) if wanted else None
        for start in range(0, len(states), chunk):
            part = slice(start, start + chunk)
            told = states[part].to(dtype)
            logits = told @ cast.t()
            total += kernels.cross_entropy(logits, targets[part]).sum()
            if for_weight is not None:
                towards[part] = logits @ cast
                for_weight += logits.t() @ told
        ctx.save_for_backward(towards, for_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        towards, for_weight = ctx.saved_tensors
        return towards * gradients[0], None, for_weight * gradients[0], None, None
