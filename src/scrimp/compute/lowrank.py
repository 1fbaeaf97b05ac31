"""Frozen linear layers with low-rank updates, all those that read one input at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["LowRank", "Record", "low_rank"]

#: told of a weight [O, I], its inputs [T, I], and the gradient towards its outputs [T, O], in place of its gradient
Record = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True)
class LowRank:
    """``y = W x + b + scale B A x``: W [O, I] and b [O] of the frozen ``base``, A ``down`` [R, I], B ``up`` [O, R].

    W is read at each use and not kept, so that one in four bits is unpacked for that long only.
    """

    base: nn.Linear
    down: torch.Tensor
    up: torch.Tensor
    scale: float


class _LowRank(torch.autograd.Function):
    """Keeps the input and the thin products only, makes no gradient of frozen weights, and adds in place."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layers: Sequence[LowRank], record: Record | None,
                *moving: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.shape, ctx.layers, ctx.record = x.shape, layers, record
        rows = x.reshape(-1, x.shape[-1])
        downs = torch.cat([down.to(rows.dtype) for down in moving[::2]])
        ups = [(layer.scale * up).to(rows.dtype) for layer, up in zip(layers, moving[1::2], strict=True)]
        thin = rows @ downs.t()
        made, at = [], 0
        for layer, up in zip(layers, ups, strict=True):
            weight, bias = layer.base.weight.t(), layer.base.bias
            y = rows @ weight if bias is None else torch.addmm(bias, rows, weight)
            made.append(y.addmm_(thin[:, at:at + up.shape[1]], up.t()).view(*x.shape[:-1], -1))
            at += up.shape[1]
        ctx.save_for_backward(rows, thin, downs, *ups)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, thin, downs, *ups = ctx.saved_tensors
        towards = [gradient.reshape(len(rows), -1) for gradient in gradients]
        back = torch.cat([gradient @ up for gradient, up in zip(towards, ups, strict=True)], dim=1)
        thins = thin.split([up.shape[1] for up in ups], dim=1)
        moving = _told(ctx, rows, back, thins, towards) if ctx.record else _summed(ctx, rows, back, thins, towards)
        for_rows = None
        if ctx.needs_input_grad[0]:
            for_rows = towards[0] @ ctx.layers[0].base.weight
            for layer, gradient in zip(ctx.layers[1:], towards[1:], strict=True):
                for_rows.addmm_(gradient, layer.base.weight)
            for_rows = for_rows.addmm_(back, downs).view(ctx.shape)
        return for_rows, None, None, *moving


def _summed(ctx: Any, rows: torch.Tensor, back: torch.Tensor, thins: Sequence[torch.Tensor],
            towards: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    """The gradients of each layer's ``down`` and ``up``."""
    downs = (back.t() @ rows).float().split([thin.shape[1] for thin in thins])
    ups = [(thin.t() @ gradient).t().float().mul_(layer.scale)
           for layer, thin, gradient in zip(ctx.layers, thins, towards, strict=True)]
    return [gradient for pair in zip(downs, ups, strict=True) for gradient in pair]


def _told(ctx: Any, rows: torch.Tensor, back: torch.Tensor, thins: Sequence[torch.Tensor],
          towards: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    backs = back.split([thin.shape[1] for thin in thins], dim=1)
    for layer, thin, part, gradient in zip(ctx.layers, thins, backs, towards, strict=True):
        if layer.down.requires_grad:
            ctx.record(layer.down, rows, part)
        if layer.up.requires_grad:
            ctx.record(layer.up, thin * layer.scale, gradient)
    return [None] * (2 * len(thins))


def low_rank(x: torch.Tensor, layers: Sequence[LowRank], record: Record | None = None) -> tuple[torch.Tensor, ...]:
    """The outputs [..., O] of layers that all read ``x`` [..., I], in its dtype; what moves may be of another.

    With ``record`` what moves gets no gradient: what would make it is told instead.
    """
    moving = [tensor for layer in layers for tensor in (layer.down, layer.up)]
    with torch.autocast(x.device.type, enabled=False):
        return _LowRank.apply(x, layers, record, *moving)
