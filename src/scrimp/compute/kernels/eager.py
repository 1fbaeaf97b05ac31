"""The kernels in plain torch: what the others must equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from scrimp.compute.blocks import Block, Blocks

__all__ = ["Kernels"]


class Kernels:
    """Plain torch; sums are float32 whatever the tensors are."""

    name = "eager"
    queries = 128  #: of a block of attention
    attended: Callable[..., torch.Tensor] | None = None  #: attention whose gradient autograd knows, if that is better

    def rotated(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, groups: int,
                scale: float) -> torch.Tensor:
        """Heads [T, heads, D] with positions rotated in, times ``scale``, as [groups, T, heads of a group, D]."""
        wide = x.float()
        first, second = wide.chunk(2, dim=-1)
        turned = wide * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]
        parted = (turned * scale).to(x.dtype).view(len(x), groups, -1, x.shape[-1])
        return parted.transpose(0, 1).contiguous()

    def rotated_back(self, gradient: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, scale: float) -> torch.Tensor:
        """The gradient of what `rotated` was given, [T, heads, D], from that of what it gave."""
        wide = gradient.transpose(0, 1).flatten(1, 2).float() * scale
        first, second = (wide * sin[:, None]).chunk(2, dim=-1)
        return (wide * cos[:, None] + torch.cat([second, -first], dim=-1)).to(gradient.dtype)

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
                  blocks: Blocks) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """What queries [key heads, T, queries a key, D] read of values [key heads, T, D], as [T, heads * D].

        Also what is to be kept for the gradient; here the probabilities of each block.
        """
        heads, tokens, group, width = q.shape
        read, kept = torch.empty_like(q), []
        for block in blocks:
            asked = q[:, block.start:block.end].reshape(heads, -1, width)
            scores = torch.bmm(asked, _gathered(k, block).transpose(1, 2))
            likely = self.softmax(scores, group, block.end - block.start)
            read[:, block.start:block.end] = torch.bmm(likely, _gathered(v, block)).view(heads, -1, group, width)
            kept.append(likely)
        return read.transpose(0, 1).reshape(tokens, -1), kept

    def attention_backward(self, gradient: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
                           read: torch.Tensor, kept: Sequence[torch.Tensor],
                           blocks: Blocks) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The gradients of ``q``, ``k`` and ``v`` from that of what was ``read``, with what was ``kept``."""
        heads, tokens, group, width = q.shape
        towards = gradient.view(tokens, heads, group, width).transpose(0, 1)
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros_like(one, dtype=torch.float32) for one in (k, v))
        for block, likely in zip(blocks, kept, strict=True):
            rows = slice(block.start, block.end)
            asked, told = q[:, rows].reshape(heads, -1, width), towards[:, rows].reshape(heads, -1, width)
            scores = self.softmax_backward(torch.bmm(told, _gathered(v, block).transpose(1, 2)), likely)
            dq[:, rows] = torch.bmm(scores, _gathered(k, block)).view(heads, -1, group, width)
            _add(dk, block, torch.bmm(scores.transpose(1, 2), asked))
            _add(dv, block, torch.bmm(likely.transpose(1, 2), told))
        return dq, dk.to(k.dtype), dv.to(v.dtype)

    def softmax(self, scores: torch.Tensor, group: int, length: int) -> torch.Tensor:
        """Probabilities from scores [heads, length * group, seen], which may be overwritten.

        The last ``length`` of what is seen are the queries' own tokens, of which each sees those up to itself.
        """
        later = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu_(1)
        scores[:, :, -length:].masked_fill_(later.repeat_interleave(group, 0), -math.inf)
        return torch.softmax(scores, dim=-1)

    def softmax_backward(self, gradient: torch.Tensor, likely: torch.Tensor) -> torch.Tensor:
        """The gradient of the scores from that of the probabilities, which may be overwritten."""
        return torch._softmax_backward_data(gradient, likely, -1, likely.dtype)

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """``x / rms(x) * weight`` over the last dimension."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()).to(x.dtype)

    def rms_norm_backward(self, gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor,
                          eps: float) -> torch.Tensor:
        """The gradient of ``x``."""
        wide = x.float()
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        towards, normed = gradient.float() * weight.float(), wide * inverse
        return (inverse * (towards - normed * (towards * normed).mean(-1, keepdim=True))).to(x.dtype)

    def gated(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """``silu(gate) * up``."""
        return F.silu(gate) * up

    def gated_backward(self, gradient: torch.Tensor, gate: torch.Tensor,
                       up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of ``gate`` and ``up``."""
        wide, towards = gate.float(), gradient.float()
        share = torch.sigmoid(wide)
        for_gate = towards * up.float() * share * (1 + wide * (1 - share))
        return for_gate.to(gate.dtype), (towards * wide * share).to(up.dtype)

    def cross_entropy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The losses, float32 [N], of logits [N, V], which are overwritten by the gradients of their losses."""
        wide = logits.float()
        normaliser = torch.logsumexp(wide, dim=-1)
        losses = normaliser - wide.gather(1, targets[:, None])[:, 0]
        likely = wide.sub_(normaliser[:, None]).exp_()
        likely.scatter_add_(1, targets[:, None], likely.new_full((len(targets), 1), -1.0))
        logits.copy_(likely)
        return losses

    def outer_sums(self, left: torch.Tensor, right: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Of each row the sum over its tokens of outer products, float32 [rows, L, R].

        Args:
            left, right: [T, L] and [T, R], of the tokens of all rows, one row after the other.
            lengths: tokens of each row.
        """
        found = torch.empty(len(lengths), left.shape[1], right.shape[1], device=left.device)
        row = at = 0
        for length, alike in groupby(lengths):
            rows = len(list(alike))
            run, size = slice(at, at := at + rows * length), (rows, length, -1)
            found[row:row + rows] = left[run].view(size).transpose(1, 2) @ right[run].view(size)
            row += rows
        return found

    def folded(self, parts: torch.Tensor, signs: torch.Tensor, places: torch.Tensor,
               into: torch.Tensor) -> torch.Tensor:
        """Add vectors, as one part of them after the other, to their shadows; see `scrimp.signals.projection`.

        Args:
            parts: float32 [N, count].
            signs: float32 [count].
            places: int64 [pieces], where in a shadow each piece of its width begins.
            into: float32 [N, W], the shadows.

        Returns:
            The squares of the vectors' lengths, float32 [N].
        """
        width = into.shape[1]
        for piece, sign, place in zip(parts.split(width, dim=1), signs.split(width), places.tolist(), strict=True):
            straight = min(width - place, len(sign))
            into[:, place:place + straight].addcmul_(piece[:, :straight], sign[:straight])
            if straight < len(sign):
                into[:, :len(sign) - straight].addcmul_(piece[:, straight:], sign[straight:])
        return torch.linalg.vector_norm(parts, dim=1).square_()


def _gathered(of: torch.Tensor, block: Block) -> torch.Tensor:
    """What a block sees of tokens [heads, T, D]."""
    if len(block.seen) == 1:
        return of[:, slice(*block.seen[0])]
    return torch.cat([of[:, start:end] for start, end in block.seen], dim=1)


def _add(into: torch.Tensor, block: Block, more: torch.Tensor) -> None:
    at = 0
    for start, end in block.seen:
        into[:, start:end] += more[:, at:at + end - start]
        at += end - start
