"""Parts of a decoder that keep less for the backward pass, as functions with gradients of their own."""

from __future__ import annotations

from typing import Any

import torch

from scrimp.compute.kernels import Kernels

__all__ = ["gated", "rms_norm"]


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float, kernels: Kernels) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps, ctx.kernels = eps, kernels
        return kernels.rms_norm(x, weight, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return ctx.kernels.rms_norm_backward(gradients[0].contiguous(), x, weight, ctx.eps), None, None, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        ctx.kernels = kernels
        return kernels.gated(gate, up)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        return *ctx.kernels.gated_backward(gradients[0].contiguous(), gate, up), None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, kernels: Kernels) -> torch.Tensor:
    """``x / rms(x) * weight`` over the last dimension; ``weight`` is frozen. Only ``x`` is kept."""
    return _RMSNorm.apply(x.contiguous(), weight, eps, kernels)


def gated(gate: torch.Tensor, up: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """``silu(gate) * up``; the two are kept."""
    return _Gated.apply(gate.contiguous(), up.contiguous(), kernels)
