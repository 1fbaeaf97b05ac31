"""AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import nn

from scrimp.core.registry import Cost, preset
from scrimp.tuning.optimizers.base import Optimizer, adam_bytes

__all__ = ["AdamW"]


class AdamW(Optimizer):
    """Adam with weight decay apart from the gradient.

    Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization". Biases and norms (parameters with fewer than
    two axes) do not decay.

    Attributes:
        learning_rate: of the schedule's peak.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: share of a weight, times the learning rate, that is taken off at each step.
    """

    learning_rate: float = Field(default=2e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.groups(p for _, p in named_parameters), **self.settings(), fused=True)

    def cost(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Cost:
        return Cost(state_bytes=adam_bytes(p for _, p in named_parameters))

    def groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """What decays and what does not."""
        known = list(parameters)
        groups = [
            {"params": [p for p in known if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in known if p.ndim < 2], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def settings(self) -> dict[str, Any]:
        """What torch's AdamW calls the rest of the options."""
        return {"lr": self.learning_rate, "betas": self.betas, "eps": self.eps}


preset("adamw", AdamW)
