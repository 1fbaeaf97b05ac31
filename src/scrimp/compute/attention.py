"""Attention over a forest of tokens: each node sees itself, up to each token, and the nodes above it."""

from __future__ import annotations

from typing import Any

import torch

from scrimp.compute.blocks import Blocks
from scrimp.compute.kernels import Kernels

__all__ = ["forest_attention"]


class _Rotated(torch.autograd.Function):
    """Heads [T, heads, D] with positions rotated in, by the key head that they ask: [key heads, T, heads a key, D]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, groups: int, scale: float,
                kernels: Kernels) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.scale, ctx.kernels = scale, kernels
        return kernels.rotated(x, cos, sin, groups, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.kernels.rotated_back(gradients[0], *ctx.saved_tensors, ctx.scale), None, None, None, None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks,
                kernels: Kernels) -> torch.Tensor:
        read, kept = kernels.attention(q, k, v, blocks)
        ctx.save_for_backward(q, k, v, read, *kept)
        ctx.blocks, ctx.kernels = blocks, kernels
        return read

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, read, *kept = ctx.saved_tensors
        found = ctx.kernels.attention_backward(gradients[0].contiguous(), q, k, v, read, kept, ctx.blocks)
        return *found, None, None


def forest_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cos: torch.Tensor,
                     sin: torch.Tensor, *, scale: float, blocks: Blocks, kernels: Kernels) -> torch.Tensor:
    """What each token reads, [T, heads * D].

    Args:
        queries: [T, heads, D], before positions are rotated in.
        keys, values: [T, key heads, D]; as many queries ask each key head.
        cos, sin: [T, D], of the tokens' positions.
        scale: of the scores.
        blocks: of the forest.
        kernels: what computes it.
    """
    q = _Rotated.apply(queries, cos, sin, keys.shape[1], scale, kernels)
    k = _Rotated.apply(keys, cos, sin, keys.shape[1], 1.0, kernels)[:, :, 0]
    v = values.transpose(0, 1).contiguous()
    if kernels.attended is not None:
        return kernels.attended(q, k, v, blocks)
    return _Attention.apply(q, k, v, blocks, kernels)
