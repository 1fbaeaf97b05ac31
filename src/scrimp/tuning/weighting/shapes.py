"""Weights by the place of a loss among recent ones."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.tuning.weighting.base import Weighting

__all__ = ["LossShape"]


class LossShape(Weighting):
    """Weigh an example by where its loss lies between the low and the high ones of late.

    ``h = 2 (l - low) / (high - low) - 1``, bounded to [-1, 1], with the ``tail`` and ``1 - tail`` quantiles of the last
    ``remembered`` losses; until there are so many, all count alike. The weight is ``exp(s(h) / temperature)``, divided
    in each step by the sum of its weights, with ``s``:

    - ``upper``: ``h``, so that what is easy by now counts less, and an outlier no more than what is merely hard;
    - ``middle``: ``1 - h^2``; ``extremes``: ``h^2``.

    Sow et al. 2025, "Dynamic Loss-Based Sample Reweighting for Improved Large Language Model Pretraining" (LinUpper,
    Quadratic, Extremes); it normalises within the batch, which would need all of a step's losses before its gradients.

    Attributes:
        shape: which losses count more.
        temperature: of the weights; the largest is ``exp(2 / temperature)`` times the smallest by ``upper``.
        remembered: losses of earlier steps that low and high are taken from.
        tail: share of them that lies beyond low, and beyond high.
    """

    shape: Literal["upper", "middle", "extremes"] = "upper"
    temperature: float = Field(default=1.0, gt=0)
    remembered: int = Field(default=256, ge=2)
    tail: float = Field(default=0.1, ge=0, lt=0.5)

    def remembers(self) -> int:
        return self.remembered

    def weights(self, losses: torch.Tensor, recent: torch.Tensor) -> torch.Tensor:
        low, high = torch.quantile(recent, torch.tensor([self.tail, 1 - self.tail]))
        if high <= low:
            return torch.ones_like(losses)
        h = (2 * (losses - low) / (high - low) - 1).clamp(-1, 1)
        shaped = {"upper": h, "middle": 1 - h.square(), "extremes": h.square()}[self.shape]
        return torch.exp(shaped / self.temperature)


preset("lin-upper", LossShape, papers=(43,))
preset("quadratic", LossShape, papers=(43,), shape="middle")
preset("extremes", LossShape, papers=(43,), shape="extremes")
