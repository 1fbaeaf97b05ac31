"""Attention over a forest of tokens: each node sees itself, up to each token, and the nodes above it."""

from __future__ import annotations

from typing import Any

import torch

from scrimp.compute.forest import Forest
from scrimp.compute.kernels import Kernels

__all__ = ["Block", "blocks_of", "forest_attention"]

_QUERIES = 128  # computed at once: half of what a longer node's tokens cannot see is not computed


class _Attention(torch.autograd.Function):
    """What each token reads, [T, heads * D], from queries [T, heads, D] and keys and values [T, key heads, D].

    Positions are rotated in, and queries laid out by the key head that they ask, by one kernel; the probabilities are
    kept for the backward pass, which makes all gradients of a block of queries by products of whole matrices.
    """

    @staticmethod
    def forward(ctx: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cos: torch.Tensor,
                sin: torch.Tensor, scale: float, blocks: list[Block], kernels: Kernels) -> torch.Tensor:
        q = kernels.rotated(queries, cos, sin, keys.shape[1], scale)  # [key heads, T, queries a key, D]
        k = kernels.rotated(keys, cos, sin, keys.shape[1], 1.0)[:, :, 0]
        v = values.transpose(0, 1).contiguous()
        heads, group, width = len(q), q.shape[2], q.shape[3]
        read = torch.empty_like(q)
        kept: list[torch.Tensor] = []
        for block in blocks:
            asked = q[:, block.start:block.end].reshape(heads, -1, width)
            scores = torch.bmm(asked, _gathered(k, block.seen).transpose(1, 2))
            likely = kernels.softmax(scores, group, block.end - block.start)
            read[:, block.start:block.end] = torch.bmm(likely, _gathered(v, block.seen)).view(heads, -1, group, width)
            kept.append(likely)
        ctx.save_for_backward(q, k, v, cos, sin, *kept)
        ctx.scale, ctx.blocks, ctx.kernels = scale, blocks, kernels
        return read.transpose(0, 1).reshape(len(queries), -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, cos, sin, *kept = ctx.saved_tensors
        heads, tokens, group, width = q.shape
        towards = gradients[0].reshape(tokens, heads, group, width).transpose(0, 1)
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros_like(one, dtype=torch.float32) for one in (k, v))
        for block, likely in zip(ctx.blocks, kept, strict=True):
            rows = slice(block.start, block.end)
            asked, told = q[:, rows].reshape(heads, -1, width), towards[:, rows].reshape(heads, -1, width)
            scores = torch.bmm(told, _gathered(v, block.seen).transpose(1, 2))
            scores = ctx.kernels.softmax_backward(scores, likely)
            dq[:, rows] = torch.bmm(scores, _gathered(k, block.seen)).view(heads, -1, group, width)
            _add(dk, block.seen, torch.bmm(scores.transpose(1, 2), asked))
            _add(dv, block.seen, torch.bmm(likely.transpose(1, 2), told))
        back = ctx.kernels.rotated_back
        return (back(dq, cos, sin, ctx.scale), back(dk.to(k.dtype)[:, :, None], cos, sin, 1.0),
                dv.to(v.dtype).transpose(0, 1), None, None, None, None, None)


class Block:
    """Queries of one node from ``start`` to ``end``, and the ranges of tokens that the last of them sees."""

    def __init__(self, start: int, end: int, seen: tuple[tuple[int, int], ...]) -> None:
        self.start, self.end, self.seen = start, end, seen


def blocks_of(forest: Forest) -> list[Block]:
    """The forest's queries in blocks, with ranges that follow each other made one."""
    found = []
    for node in forest.nodes:
        for start in range(node.start, node.end, _QUERIES):
            end = min(start + _QUERIES, node.end)
            found.append(Block(start, end, _joined([*node.above, (node.start, end)])))
    return found


def forest_attention(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cos: torch.Tensor,
                     sin: torch.Tensor, *, scale: float, blocks: list[Block], kernels: Kernels) -> torch.Tensor:
    """What each token reads, [T, heads * D].

    Args:
        queries: [T, heads, D], before positions are rotated in.
        keys, values: [T, key heads, D]; as many queries ask each key head.
        cos, sin: [T, D], of the tokens' positions.
        scale: of the scores.
        blocks: of the forest, see `blocks_of`.
        kernels: what computes between the products of matrices.
    """
    return _Attention.apply(queries, keys, values, cos, sin, scale, blocks, kernels)


def _joined(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined = [ranges[0]]
    for start, end in ranges[1:]:
        if start == joined[-1][1]:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return tuple(joined)


def _gathered(of: torch.Tensor, ranges: tuple[tuple[int, int], ...]) -> torch.Tensor:
    if len(ranges) == 1:
        return of[:, ranges[0][0]:ranges[0][1]]
    return torch.cat([of[:, start:end] for start, end in ranges], dim=1)


def _add(into: torch.Tensor, ranges: tuple[tuple[int, int], ...], more: torch.Tensor) -> None:
    at = 0
    for start, end in ranges:
        into[:, start:end] += more[:, at:at + end - start]
        at += end - start
