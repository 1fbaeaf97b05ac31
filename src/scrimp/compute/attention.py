"""Attention over a forest of tokens: each node sees itself, up to each token, and the nodes above it."""

from __future__ import annotations

from typing import Any

import torch

from scrimp.compute.blocks import Blocks
from scrimp.compute.kernels import Kernels

__all__ = ["forest_attention"]


class _Attention(torch.autograd.Function):
    """What each token reads, [T, heads * D], from queries [T, heads, D] and keys and values [T, key heads, D].

    Positions are rotated in, and queries laid out by the key head that they ask, by one kernel; another does the rest.
    """

    @staticmethod
    def forward(ctx: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cos: torch.Tensor,
                sin: torch.Tensor, scale: float, blocks: Blocks, kernels: Kernels) -> torch.Tensor:
        q = kernels.rotated(queries, cos, sin, keys.shape[1], scale)  # [key heads, T, queries a key, D]
        k = kernels.rotated(keys, cos, sin, keys.shape[1], 1.0)[:, :, 0]
        v = values.transpose(0, 1).contiguous()
        read, kept = kernels.attention(q, k, v, blocks)
        ctx.save_for_backward(q, k, v, cos, sin, read, *kept)
        ctx.scale, ctx.blocks, ctx.kernels = scale, blocks, kernels
        return read

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, cos, sin, read, *kept = ctx.saved_tensors
        dq, dk, dv = ctx.kernels.attention_backward(gradients[0].contiguous(), q, k, v, read, kept, ctx.blocks)
        back = ctx.kernels.rotated_back
        return (back(dq, cos, sin, ctx.scale), back(dk[:, :, None], cos, sin, 1.0), dv.transpose(0, 1),
                None, None, None, None, None)


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
    return _Attention.apply(queries, keys, values, cos, sin, scale, blocks, kernels)
