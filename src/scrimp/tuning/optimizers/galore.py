"""AdamW whose running means live in a small subspace of each matrix's gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from scrimp.core.registry import Cost, preset
from scrimp.tuning.optimizers.adamw import AdamFamily
from scrimp.tuning.optimizers.base import adam_bytes

__all__ = ["GaLore"]


class GaLore(AdamFamily):
    """Move all weights, but keep Adam's state of each matrix for a low-rank projection of its gradient.

    `W <- W - lr * scale * P Adam(P^T G)`, with P the leading singular vectors, on the shorter side, of the gradient G
    of a whole optimizer step (all its micro-batches), found anew every so many steps. Vectors, embeddings and matrices
    that are no larger than the subspace are moved by plain AdamW. The running means stay when the subspace changes, as
    in the authors' code. Zhao et al. 2024, "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection".

    Attributes:
        projection_rank: dimensions of the subspace.
        projection_every: steps between two searches for it.
        projection_scale: factor of what comes back from it.
        unprojected: parts of the names of matrices that are moved by plain AdamW.
    """

    projection_rank: int = Field(default=8, ge=1)
    projection_every: int = Field(default=200, ge=1)
    projection_scale: float = Field(default=0.25, gt=0)
    unprojected: tuple[str, ...] = ("embed", "wte", "wpe", "lm_head")

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        named = list(named_parameters)
        small = [p for name, p in named if self._is_projected(name, p)]
        plain = [p for name, p in named if not self._is_projected(name, p)]
        projected = [{**group, "rank": self.projection_rank} for group in self.groups(small)]
        return _GaLore([*projected, *self.groups(plain)], every=self.projection_every, scale=self.projection_scale,
                       **self.settings())

    def cost(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Cost:
        return Cost(state_bytes=sum(
            4 * self.projection_rank * (2 * max(p.shape) + min(p.shape)) + 4 if self._is_projected(name, p)
            else adam_bytes([p]) for name, p in named_parameters))

    def _is_projected(self, name: str, parameter: Tensor) -> bool:
        return (parameter.ndim == 2 and min(parameter.shape) > self.projection_rank
                and not any(part in name for part in self.unprojected))


class _GaLore(torch.optim.Optimizer):
    """Groups with a ``rank`` are projected, the others are not; state: step, exp_avg, exp_avg_sq, projector."""

    def __init__(self, groups: Iterable[dict[str, Any]], **settings: Any) -> None:
        super().__init__(groups, {"rank": None, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        step = state["step"] = state.get("step", torch.zeros(())) + 1
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        if group["rank"] is None:
            parameter.sub_(_adam(gradient, state, group), alpha=group["lr"])
            return
        wide = gradient.shape[0] <= gradient.shape[1]
        gradient = gradient if wide else gradient.T
        if (int(step) - 1) % group["every"] == 0:
            state["projector"] = _leading(gradient, group["rank"])
        update = state["projector"] @ _adam(state["projector"].T @ gradient, state, group)
        parameter.sub_(update if wide else update.T, alpha=group["lr"] * group["scale"])


def _leading(matrix: Tensor, rank: int) -> Tensor:
    """The ``rank`` leading left singular vectors of a matrix that is not higher than wide, as columns."""
    return torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -rank:].contiguous()


def _adam(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Adam's direction; its running means are brought up to date."""
    (first, second), step = group["betas"], float(state["step"])
    mean = state.setdefault("exp_avg", torch.zeros_like(gradient)).lerp_(gradient, 1 - first)
    square = state.setdefault("exp_avg_sq", torch.zeros_like(gradient)).mul_(second)
    square.addcmul_(gradient, gradient, value=1 - second)
    return mean / (1 - first**step) / (square / (1 - second**step)).sqrt_().add_(group["eps"])


preset("galore", GaLore, papers=(39,))
