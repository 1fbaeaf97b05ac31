"""The kernels in plain torch: what the others must equal."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

__all__ = ["Kernels"]


class Kernels:
    """Plain torch; sums are float32 whatever the tensors are."""

    name = "eager"

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
