"""Frozen linear layers with low-rank updates, all those that read one input at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["LowRank", "low_rank"]


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
    def forward(ctx: Any, x: torch.Tensor, layers: Sequence[LowRank],
                *moving: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.shape, ctx.layers = x.shape, layers
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
        for_downs = (back.t() @ rows).float()
        moving: list[torch.Tensor] = []
        at = 0
        for layer, gradient, up in zip(ctx.layers, towards, ups, strict=True):
            part = slice(at, at + up.shape[1])
            moving += [for_downs[part], (thin[:, part].t() @ gradient).t().float().mul_(layer.scale)]
            at = part.stop
        for_rows = None
        if ctx.needs_input_grad[0]:
            for_rows = towards[0] @ ctx.layers[0].base.weight
            for layer, gradient in zip(ctx.layers[1:], towards[1:], strict=True):
                for_rows.addmm_(gradient, layer.base.weight)
            for_rows = for_rows.addmm_(back, downs).view(ctx.shape)
        return for_rows, None, *moving


def low_rank(x: torch.Tensor, layers: Sequence[LowRank]) -> tuple[torch.Tensor, ...]:
    """The outputs [..., O] of layers that all read ``x`` [..., I], in its dtype; what moves may be of another."""
    moving = [tensor for layer in layers for tensor in (layer.down, layer.up)]
    with torch.autocast(x.device.type, enabled=False):
        return _LowRank.apply(x, layers, *moving)
