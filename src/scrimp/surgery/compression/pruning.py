"""Pruning: weights that matter least are set to zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from scrimp.core.errors import ModelError
from scrimp.core.options import Fraction
from scrimp.core.registry import Cost, preset
from scrimp.signals.activations import InputStatistics
from scrimp.surgery.compression.base import Compression
from scrimp.surgery.compression.layerwise import PASSES, layerwise

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Pruning"]


class Pruning(Compression):
    """Set the weights that matter least to zero, and exchange some of them for others where that mends the output.

    In each row of a layer's weights W the share ``sparsity`` with the lowest scores is pruned: ``|W_ij|`` (magnitude),
    or ``|W_ij| ||x_j||`` with the length of input j over the calibration rows (wanda). Wanda: Sun et al. 2023, "A
    Simple and Effective Pruning Approach for Large Language Models".

    ``refine="dsnot"`` then follows the expected error of each output, ``e = sum over the pruned of W_ij E[x_j]``, and
    exchanges weights while that makes ``|e|`` smaller: of the pruned the one with the largest
    ``sign(e) W_ij E[x_j] / Var[x_j]`` comes back, and of the kept whose loss moves e the other way the one with the
    smallest wanda score goes. As many weights are zero as before, none is changed and no gradient is taken. Zhang et
    al. 2024, "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs".

    Attributes:
        sparsity: share of the weights that are pruned; half if left out. An N:M pattern has its own.
        score: what a weight is worth: "magnitude" or "wanda".
        pattern: "unstructured", or "N:M" such as 2:4, where of each M neighbours in a row at most N are kept.
        refine: "none" or "dsnot".
        cycles: exchanges in a row, at most.
        tolerance: the error at which a row is good enough.
    """

    sparsity: Fraction | None = None
    score: Literal["magnitude", "wanda"] = "wanda"
    pattern: str = Field(default="unstructured", pattern=r"^(unstructured|[1-9]\d?:[1-9]\d?)$")
    refine: Literal["none", "dsnot"] = "none"
    cycles: int = Field(default=50, ge=1)
    tolerance: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_share(self) -> Self:
        if self.pattern != "unstructured":
            if self.sparsity is not None:
                raise ValueError("give 'sparsity' or an N:M 'pattern', not both")
            kept, of = map(int, self.pattern.split(":"))
            if kept >= of:
                raise ValueError(f"of {of} weights fewer than {of} can be kept, not {kept}")
        return self

    def apply(self, model: nn.Module, calibration: Sequence[Encoded]) -> nn.Module:
        layerwise(model, calibration, self._prune)
        return model

    def cost(self, model: nn.Module, rows: int) -> Cost:
        return Cost(forward=PASSES)

    def _prune(self, name: str, layer: nn.Linear, seen: InputStatistics) -> None:
        weight = layer.weight.detach().double()
        worth = weight.abs() * (seen.norm if self.score == "wanda" else 1.0)
        group = self._group(weight.shape[1], name)
        kept = _best(worth, self._kept_of(group), group)
        if self.refine == "dsnot":
            kept = exchanged(weight, kept, seen, group, cycles=self.cycles, tolerance=self.tolerance)
        with torch.no_grad():
            layer.weight.masked_fill_(~kept, 0.0)

    def _group(self, width: int, name: str) -> int:
        """Weights among which some are pruned: M neighbours, or a whole row."""
        if self.pattern == "unstructured":
            return width
        group = int(self.pattern.split(":")[1])
        if width % group:
            raise ModelError(f"its {width} inputs cannot be cut in groups of {group}", where=name)
        return group

    def _kept_of(self, group: int) -> int:
        if self.pattern != "unstructured":
            return int(self.pattern.split(":")[0])
        return group - round(group * (0.5 if self.sparsity is None else self.sparsity))


def _best(worth: torch.Tensor, kept: int, group: int) -> torch.Tensor:
    """Bool [R, D]: the ``kept`` of each ``group`` neighbours that are worth most."""
    grouped = worth.view(len(worth), -1, group)
    chosen = torch.zeros_like(grouped, dtype=torch.bool)
    chosen.scatter_(2, grouped.topk(kept, dim=2).indices, True)
    return chosen.view_as(worth)


def exchanged(weight: torch.Tensor, kept: torch.Tensor, seen: InputStatistics, group: int, *, cycles: int,
              tolerance: float) -> torch.Tensor:
    """The mask after exchanging pruned for kept weights, see `Pruning`; each weight is exchanged once at most.

    Args:
        weight: float64 [R, D].
        kept: bool [R, D].
        seen: of the inputs.
        group: neighbours within which weights are exchanged.
        cycles, tolerance: when to stop.
    """
    kept, untouched = kept.clone(), torch.ones_like(kept)
    effect = weight * seen.mean  # on the expected output
    growth = effect / seen.variance.clamp(min=1e-12)
    worth = weight.abs() * seen.norm
    error = effect.masked_fill(kept, 0.0).sum(dim=1)
    rows, places = torch.arange(len(weight), device=weight.device), torch.arange(weight.shape[1], device=weight.device)
    for _ in range(cycles):
        sign = error.sign()[:, None]
        gain = (sign * growth).masked_fill(kept | ~untouched, -torch.inf)
        grown = gain.argmax(dim=1)
        near = places[None] // group == (grown // group)[:, None]
        loss = worth.masked_fill(~(kept & untouched & near & (sign * effect < 0)), torch.inf)
        pruned = loss.argmin(dim=1)
        after = error - effect[rows, grown] + effect[rows, pruned]
        better = gain[rows, grown].isfinite() & loss[rows, pruned].isfinite()
        better &= (after.abs() < error.abs()) & (error.abs() > tolerance)
        if not bool(better.any()):
            break
        moved = rows[better]
        kept[moved, grown[better]], kept[moved, pruned[better]] = True, False
        untouched[moved, grown[better]] = untouched[moved, pruned[better]] = False
        error = torch.where(better, after, error)
    return kept


preset("magnitude", Pruning, score="magnitude")
preset("wanda", Pruning)
preset("wanda-2:4", Pruning, pattern="2:4")
preset("dsnot", Pruning, papers=(24,), refine="dsnot")
