"""Task arithmetic: add to the base what each model has learned since, in one parameterised family."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from scrimp.core.registry import preset
from scrimp.surgery.merging.base import Merge, Numbers, drawn_for, weighted

__all__ = ["TaskArithmetic"]


class TaskArithmetic(Merge):
    """Add what each model has learned since the base, made sparse, weighed, and agreed upon.

    W = W0 + scale * sum_i w_i s(W_i - W0), with s a way to thin out each difference, and the sum perhaps divided by the
    weights that took part, and taken only over the models that agree with the sign of the whole. Thinning and signs are
    those of each tensor by itself, so that a model of any size can be merged tensor by tensor.

    - task-arithmetic: the plain sum. Ilharco et al. 2023, "Editing Models with Task Arithmetic".
    - ties: the largest fifth of each difference, the mean of those that have the elected sign. Yadav et al. 2023,
      "TIES-Merging: Resolving Interference When Merging Models" (which ranks entries over the whole model).
    - dare, dare-ties: each entry kept with probability ``density`` and divided by it, then added, or elected as in
      TIES. Yu et al. 2024, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free
      Lunch".
    - breadcrumbs: neither the smallest nor the very largest entries. Davari and Belilovsky 2024, "Model Breadcrumbs:
      Scaling Multi-Task Model Merging with Sparse Masks".
    - re-adapt, lore-adapt: of two models, the first tuned to follow instructions and the second on a domain; in the
      second form only the leading singular directions of the first. Fleshman and Van Durme 2024, "RE-Adapt: Reverse
      Engineered Adaptation of Large Language Models".

    Attributes:
        keep: which entries of each difference remain: all, random ones, the largest, or a band below the very largest.
        density: share of the entries that remain.
        outliers: with band, the share of the largest entries that are dropped first.
        rescale: with random, divide what remains by ``density``, so that its expectation is that of the whole.
        energy: of each model's matrices, the share of the squared singular values that the kept directions have at
            least; one number for each model.
        agree: sum only over the models whose entry has the sign of the weighted sum of all.
        average: divide the sum by the weights of the models that took part in it.
        weights: one for each model; 1 without.
        scale: of the whole change.
    """

    needs: ClassVar[tuple[str, ...]] = ("base",)
    for_each_model: ClassVar[tuple[str, ...]] = ("energy", "weights")

    keep: Literal["all", "random", "largest", "band"] = "all"
    density: float = Field(default=1.0, gt=0, le=1)
    outliers: float = Field(default=0.0, ge=0, lt=1)
    rescale: bool = True
    energy: Numbers | None = None
    agree: bool = False
    average: bool = False
    weights: Numbers | None = None
    scale: float = 1.0

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.density + self.outliers > 1:
            raise ValueError(f"density {self.density} and outliers {self.outliers} are more than all entries")
        if self.energy and not all(0 < share <= 1 for share in self.energy):
            raise ValueError(f"energy is a share above 0 and up to 1, not {self.energy}")
        return self

    def tensor(self, name: str, models: list[torch.Tensor], base: torch.Tensor | None, seed: int) -> torch.Tensor:
        assert base is not None  # `apply` has seen to it
        changes = [self._thinned(model - base, drawn_for(name, place, seed), place)
                   for place, model in enumerate(models)]
        return base + self.scale * self._sum(weighted(changes, self.weights))

    def _thinned(self, change: torch.Tensor, chance: torch.Generator, place: int) -> torch.Tensor:
        if self.energy and change.dim() == 2:
            change = _leading(change, self.energy[place])
        if self.keep == "random":
            kept = change * torch.rand(change.shape, generator=chance).lt(self.density).to(change.device)
            return kept / self.density if self.rescale else kept
        return change * _largest(change, self.density, self.outliers) if self.keep != "all" else change

    def _sum(self, changes: torch.Tensor) -> torch.Tensor:
        """[...] from the weighted changes [M, ...]."""
        weights = weighted(torch.ones_like(changes), self.weights)
        if self.agree:
            taking_part = changes.sign() == changes.sum(0).sign()
            changes, weights = changes * taking_part, weights * taking_part * changes.ne(0)
        if not self.average:
            return changes.sum(0)
        shares = weights.sum(0)
        return changes.sum(0) / shares.masked_fill(shares == 0, 1)


def _largest(change: torch.Tensor, density: float, outliers: float) -> torch.Tensor:
    """A mask of the ``density`` largest entries below the ``outliers`` very largest; of equal ones the first."""
    skipped = int(outliers * change.numel())
    kept = max(1, round(density * change.numel()))
    order = change.abs().flatten().sort(descending=True, stable=True).indices[skipped: skipped + kept]
    mask = torch.zeros(change.numel(), dtype=torch.bool, device=change.device)
    return mask.index_fill_(0, order, True).view_as(change)


def _leading(change: torch.Tensor, energy: float) -> torch.Tensor:
    """The fewest singular directions that hold ``energy`` of the squared singular values."""
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    held = values.square().cumsum(0)
    rank = int((held < energy * held[-1] * (1 - 1e-6)).sum()) + 1
    return (left[:, :rank] * values[:rank]) @ right[:rank]


preset("task-arithmetic", TaskArithmetic)
preset("ties", TaskArithmetic, keep="largest", density=0.2, agree=True, average=True)
preset("dare", TaskArithmetic, papers=(577,), keep="random", density=0.1)
preset("dare-ties", TaskArithmetic, papers=(577,), keep="random", density=0.1, agree=True, average=True)
preset("breadcrumbs", TaskArithmetic, papers=(268,), keep="band", density=0.9, outliers=0.01)
preset("re-adapt", TaskArithmetic, papers=(262,), scale=0.5)
preset("lore-adapt", TaskArithmetic, papers=(262,), scale=0.5, energy=(0.5, 1.0))
