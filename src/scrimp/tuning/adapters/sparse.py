"""A few weights of the model itself, in blocks or one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from scrimp.checkpoints.grafts import Graft
from scrimp.core.errors import ModelError
from scrimp.core.options import Fraction
from scrimp.core.registry import preset
from scrimp.tuning.adapters.base import BodyAdapter, Chooser, Targets, targeted

__all__ = ["Sparse"]


class Sparse(BodyAdapter):
    """Train a small share of the weights of the linear layers, chosen once, and freeze the rest.

    `y = (W + M * V) x`, M the mask of what was chosen in all layers together, in square blocks or (block 1) one by one;
    what is stored, moved and shipped is V where M is 1. Chosen by "gradient" are the blocks with the largest mean
    absolute gradient in the first steps of the data, which needs memory for the gradients of all targets for that long:
    He et al. 2024, "Sparse Matrix in Large Language Model Fine-tuning". The "random" choice is its control, and the
    arbitrary one of Su et al. 2023, "Arbitrary Few Parameters are Good Enough for Adapting Large-scale Pre-trained
    Language Models". PEFT's own sparse adapter (SHiRA) gives each layer the same number, and so cannot hold these.

    Attributes:
        density: share of the targets' weights that move.
        choose: by "gradient", by "magnitude" (largest mean absolute weight) or at "random".
        block: rows and columns of a block; weights beyond the last whole block of a layer are not chosen.
        looks: steps whose gradients are looked at; they are on the bill.
        targets: endings of the names of the layers to choose from, or "all-linear": each linear layer but the output
            layer.
    """

    density: Fraction = 0.01
    choose: Literal["gradient", "magnitude", "random"] = "gradient"
    block: int = Field(default=32, ge=1)
    looks: int = Field(default=10, ge=1)
    targets: Targets = "all-linear"

    def wrap(self, body: nn.Module) -> nn.Module:
        _SparseGraft(self, body, targeted(body, self.targets))
        return body

    def added(self, body: nn.Module) -> int:
        return self.blocks(targeted(body, self.targets)) * self.block**2

    def blocks(self, layers: Mapping[str, nn.Linear]) -> int:
        """How many are chosen.

        Raises:
            ModelError: if no layer holds one.
        """
        whole = sum((layer.out_features // self.block) * (layer.in_features // self.block) for layer in layers.values())
        if not whole:
            raise ModelError(f"no layer holds a block of {self.block} by {self.block}", where="adapter sparse",
                             fix="choose a smaller block")
        weights = sum(layer.weight.numel() for layer in layers.values())
        return min(max(round(self.density * weights / self.block**2), 1), whole)


class _SparseGraft(Graft, Chooser):
    """Blocks are numbered through all layers, row by row; until they are chosen the model is as it was.

    Attributes:
        chosen: int64 [K], ascending; -1 while nothing is chosen.
        values: what is added to each block's weights, float32 [K, block, block].
    """

    chosen: Tensor

    def __init__(self, method: Sparse, body: nn.Module, layers: dict[str, nn.Linear]) -> None:
        super().__init__(method, body, list(layers))
        self.block, self.looks = method.block, method.looks if method.choose == "gradient" else 0
        self._linear = tuple(layers.values())
        self._grids = [(layer.out_features // self.block, layer.in_features // self.block) for layer in self._linear]
        self._starts = np.cumsum([0, *(rows * columns for rows, columns in self._grids)]).tolist()
        count, device = method.blocks(layers), self._linear[0].weight.device
        self.values = nn.Parameter(torch.zeros(count, self.block, self.block, device=device))
        self.register_buffer("chosen", torch.full((count,), -1, device=device))
        self.adopt(self.chosen)
        if method.choose == "random":
            draw = np.random.default_rng(torch.initial_seed())
            self.adopt(torch.from_numpy(draw.choice(self._starts[-1], count, replace=False, shuffle=False)))
        elif method.choose == "magnitude":
            self._adopt_largest([self._by_block(layer.weight.detach()) for layer in self._linear])

    # -- the choice ----------------------------------------------------------------------------------------------

    def choose(self, looks: Iterable[None]) -> None:
        """By gradient; what has learned something keeps its blocks."""
        if bool(self.values.any()):
            return
        scores = [torch.zeros(grid, device=self.values.device) for grid in self._grids]
        weights = [layer.weight for layer in self._linear]
        with self.disabled():
            for weight in weights:
                weight.requires_grad_(True)
            for _ in looks:
                for score, weight in zip(scores, weights, strict=True):
                    if weight.grad is not None:
                        score += self._by_block(weight.grad)
            for weight in weights:
                weight.requires_grad_(False)
        self._adopt_largest(scores)

    def adopt(self, chosen: Tensor) -> None:
        ordered = chosen.cpu().sort().values
        unset = bool((ordered == -1).all())
        if not unset and not (int(ordered[0]) >= 0 and int(ordered[-1]) < self._starts[-1]
                              and bool((ordered.diff() > 0).all())):
            raise ModelError("the chosen blocks are not those of this model", where="graft.chosen")
        self.chosen.copy_(ordered)
        bounds = torch.searchsorted(ordered, torch.tensor(self._starts)).tolist()
        self._bounds = list(itertools.pairwise(bounds))

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        self.adopt(tensors["chosen"])
        super().take(tensors)

    def _adopt_largest(self, scores: list[Tensor]) -> None:
        self.adopt(torch.cat([score.flatten() for score in scores]).topk(len(self.chosen)).indices)

    def _by_block(self, weight: Tensor) -> Tensor:
        """The mean absolute value in each whole block, float32 [rows, columns]."""
        return F.avg_pool2d(weight[None].float().abs(), self.block)[0]

    # -- what it does --------------------------------------------------------------------------------------------

    def _at(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        """A layer's values [k, block, block], and the row and the column of each block, int64 [k]."""
        first, last = self._bounds[place]
        number = self.chosen[first:last] - self._starts[place]
        columns = max(self._grids[place][1], 1)
        return self.values[first:last], number // columns, number % columns

    def change(self, place: int, inputs: Tensor, output: Tensor) -> Tensor:
        values, rows, columns = self._at(place)
        if not len(rows):
            return output
        inputs = inputs.to(values.dtype)
        if self.block == 1:  # a matrix of mostly zeros costs less than picking its few numbers apart
            return output + F.linear(inputs, self.delta(place, self._linear[place].weight)).to(output.dtype)
        height, width = (blocks * self.block for blocks in self._grids[place])
        picked = inputs[..., :width].unflatten(-1, (-1, self.block))[..., columns, :]
        made = torch.einsum("...kc,krc->...kr", picked, values).to(output.dtype)
        whole = output[..., :height].unflatten(-1, (-1, self.block)).index_add(-2, rows, made).flatten(-2)
        return torch.cat([whole, output[..., height:]], dim=-1) if height < output.shape[-1] else whole

    def delta(self, place: int, weight: Tensor) -> Tensor:
        values, rows, columns = self._at(place)
        within = torch.arange(self.block, device=rows.device)
        down = (rows[:, None] * self.block + within)[:, :, None].expand_as(values)
        across = (columns[:, None] * self.block + within)[:, None, :].expand_as(values)
        return torch.zeros(weight.shape, device=weight.device).index_put((down, across), values)


preset("smt", Sparse, papers=(215,))
preset("random-mask", Sparse, papers=(247,), choose="random", block=1)
