"""Averages of weights: of independent runs, or of a model and its base."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator

from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.surgery.merging.base import Merge, Numbers, weighted

__all__ = ["LinearAverage", "SphericalAverage"]


class LinearAverage(Merge):
    """Average the models, and stop on the way to the average where that is asked for.

    W = (1 - toward) W0 + toward * sum_i w_i W_i / sum_i w_i.

    - soup: the mean of runs that were tuned apart from one start. Wortsman et al. 2022, "lo-fi: distributed fine-tuning
      without communication".
    - wise-ft: half-way from the base to the tuned model, which keeps more of what the base can do elsewhere. Wortsman
      et al. 2022, "Robust fine-tuning of zero-shot models".

    Attributes:
        toward: how far to go from the base to the average; 1 needs no base, 0 is the base.
        weights: one for each model, not summing to 0; equal ones without.
    """

    for_each_model: ClassVar[tuple[str, ...]] = ("weights",)

    toward: float = 1.0
    weights: Numbers | None = None

    @model_validator(mode="after")
    def _averages(self) -> Self:
        if self.weights is not None and not sum(self.weights):
            raise ValueError("the weights sum to 0, so there is no average")
        return self

    @property
    def needs_base(self) -> bool:
        return self.toward != 1

    def tensor(self, name: str, models: list[torch.Tensor], base: torch.Tensor | None, seed: int) -> torch.Tensor:
        average = weighted(models, self.weights).sum(0) / sum(self.weights or [1.0] * len(models))
        return average if base is None else torch.lerp(base, average, self.toward)


class SphericalAverage(Merge):
    """Go from the first model to the second on the arc between their directions, each tensor by itself.

    W = sin((1 - t) a) / sin(a) W_1 + sin(t a) / sin(a) W_2, with a the angle between W_1 and W_2. Tensors that point
    the same or the opposite way are averaged linearly. Shoemake 1985, "Animating Rotation with Quaternion Curves".

    Attributes:
        toward: t, how far to go; with one model, from the base to it.
    """

    toward: float = Field(default=0.5, ge=0, le=1)

    def tensor(self, name: str, models: list[torch.Tensor], base: torch.Tensor | None, seed: int) -> torch.Tensor:
        ends = models if len(models) == 2 or base is None else [base, *models]
        if len(ends) != 2:
            raise ModelError(f"slerp goes from one model to one other, not between {len(ends)}",
                             fix="give two models, or one and its base")
        first, second = ends
        cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0).clamp(-1, 1)
        angle = torch.acos(cosine)
        if float(angle.sin()) < 1e-4:
            return torch.lerp(first, second, self.toward)
        return (torch.sin((1 - self.toward) * angle) * first + torch.sin(self.toward * angle) * second) / angle.sin()


preset("soup", LinearAverage, papers=(218,))
preset("wise-ft", LinearAverage, papers=(213,), toward=0.5)
preset("slerp", SphericalAverage)
