"""AdamW that compresses weights while it trains them: it prunes them little by little, or keeps them on a grid."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from scrimp.compute.grids import on_even_grid, on_float_grid
from scrimp.core.errors import ModelError
from scrimp.core.options import Fraction
from scrimp.core.registry import Cost, preset
from scrimp.tuning.optimizers.adamw import AdamFamily
from scrimp.tuning.optimizers.base import adam_bytes

__all__ = ["GradualPruning", "RoundedWeights"]

_OWN_MATRIX = re.compile(r"(?!.*(?:lora_|graft)).*\.\d+\..*weight")  # a weight of a numbered layer, not of an adapter
_MASTER = "master"
_FIRST = 2  # the update after which weights are rounded at the earliest: before any has moved, nothing is


class GradualPruning(AdamFamily):
    """Set the smallest weights of each matrix in the numbered layers to zero, ever more of them, and train the rest.

    The share that is zero rises between two moments of the run, as ``sparsity * (1 - (1 - progress)^3)`` (Zhu and Gupta
    2017, "To Prune, or Not to Prune"); a weight that was pruned stays zero. To begin after a quarter of training, to
    end after three quarters, and to count a model by the average of its parameters over training (see the curve
    "average-parameters"): Jin et al. 2025, "The Journey Matters: Average Parameter Count over Pre-training Unifies
    Sparse and Dense Scaling Laws". Moments are shares of the steps here, not of the compute.

    Attributes:
        sparsity: share of the weights that are zero in the end.
        pruning_begins: share of the steps before the first pruning.
        pruning_ends: share of the steps after which no more is pruned.
        prune_every: steps between one pruning and the next.
    """

    sparsity: Fraction = 0.5
    pruning_begins: Fraction = 0.25
    pruning_ends: Fraction = 0.75
    prune_every: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.pruning_begins > self.pruning_ends:
            raise ValueError("'pruning_begins' comes after 'pruning_ends'")
        return self

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        """See `Optimizer.build`.

        Raises:
            ModelError: if no matrix of a numbered layer moves.
        """
        named = dict(named_parameters)
        return _Pruned(self.groups(named.values()), _matrices(named, self.name), settings=self.settings(),
                       share=lambda step: self.share(step, steps), every=self.prune_every)

    def share(self, step: int, steps: int) -> float:
        """Share of the weights that are zero after update ``step`` (from 1) of ``steps``."""
        begins, ends = round(self.pruning_begins * steps), round(self.pruning_ends * steps)
        if step >= ends:
            return self.sparsity
        left = 1.0 if step <= begins else 1 - (step - begins) / (ends - begins)
        return self.sparsity * (1 - left**3)

    def cost(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Cost:
        return Cost(state_bytes=adam_bytes(p for _, p in named_parameters))


class RoundedWeights(AdamFamily):
    """Compute with rounded weights from some step on, and move what they were rounded from.

    The matrices of the numbered layers are put on a grid of their own for each row, after each step; gradients are
    taken there and move float32 masters. What is left in the end are the rounded weights. Activations and gradients
    are not rounded.

    - qat: whole numbers, in the last part of a run only. If the learning rate falls in that same part (``schedule:
      wsd`` with ``decay`` as large as ``rounded_share``), nothing is spent on cooling down a model that is rounded
      afterwards. Dremov et al. 2025, "Compute-Optimal Quantization-Aware Training".
    - float-training: numbers with few bits of exponent and mantissa, from the third step on. Sun et al. 2025, "Scaling
      Laws for Floating Point Quantization Training", who round activations and gradients as well.

    Attributes:
        grid: "even", or "float" with its own numbers of bits.
        weight_bits: of a weight on an even grid.
        exponent_bits: of a weight on a float grid.
        mantissa_bits: of a weight on a float grid, beside its sign and its exponent.
        rounded_share: of the steps, at the end of the run.
    """

    grid: Literal["even", "float"] = "even"
    weight_bits: int = Field(default=4, ge=2, le=16)
    exponent_bits: int = Field(default=2, ge=1, le=5)
    mantissa_bits: int = Field(default=1, ge=0, le=10)
    rounded_share: Fraction = 0.25

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        """See `Optimizer.build`.

        Raises:
            ModelError: if no matrix of a numbered layer moves.
        """
        named = dict(named_parameters)
        return _Rounded(self.groups(named.values()), _matrices(named, self.name), settings=self.settings(),
                        grid=self.on_grid, begins=self._begins(steps))

    def on_grid(self, weight: torch.Tensor) -> torch.Tensor:
        """``weight`` [R, D] at the nearest values of each row's grid."""
        if self.grid == "even":
            return on_even_grid(weight, self.weight_bits)
        return on_float_grid(weight, self.exponent_bits, self.mantissa_bits)

    def _begins(self, steps: int) -> int:
        """The update after which weights are rounded first."""
        return max(steps - round(self.rounded_share * steps), _FIRST) if self.rounded_share else steps + 1

    def cost(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Cost:
        named = dict(named_parameters)
        masters = sum(4 * p.numel() for p in _matrices(named, self.name)) if self.rounded_share else 0
        return Cost(state_bytes=adam_bytes(named.values()) + masters)


def _matrices(named: dict[str, nn.Parameter], name: str) -> list[nn.Parameter]:
    """The model's own weights that are compressed.

    Raises:
        ModelError: there are none.
    """
    found = [p for called, p in named.items() if p.ndim == 2 and _OWN_MATRIX.fullmatch(called)]
    if not found:
        raise ModelError("no matrix of a numbered layer of the model itself moves", where=f"optimizer {name}",
                         fix="adapter: full")
    return found


class _Compressing(torch.optim.AdamW):
    """AdamW that does something to its matrices around each step; only to those that have a gradient."""

    def __init__(self, groups: list[dict[str, Any]], matrices: Iterable[nn.Parameter],
                 settings: dict[str, Any]) -> None:
        super().__init__(groups, **settings, fused=True)
        self._matrices = list(matrices)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        here = [p for p in self._matrices if p.grad is not None]
        before = [self._before(p) for p in here]
        found = super().step(closure)
        for parameter, kept in zip(here, before, strict=True):
            self._after(parameter, kept, int(self.state[parameter]["step"]))
        return found

    def _before(self, parameter: nn.Parameter) -> Any:
        raise NotImplementedError

    def _after(self, parameter: nn.Parameter, kept: Any, step: int) -> None:
        raise NotImplementedError


class _Pruned(_Compressing):
    def __init__(self, groups: list[dict[str, Any]], matrices: Iterable[nn.Parameter], *, settings: dict[str, Any],
                 share: Callable[[int], float], every: int) -> None:
        super().__init__(groups, matrices, settings)
        self._share, self._every = share, every

    def _before(self, parameter: nn.Parameter) -> torch.Tensor:
        return parameter == 0

    def _after(self, parameter: nn.Parameter, kept: torch.Tensor, step: int) -> None:
        share = self._share(step)
        if not share:
            return
        parameter.masked_fill_(kept, 0.0)
        count = round(share * parameter.numel())
        if count and (step % self._every == 0 or share == self._share(step + self._every)):
            parameter.view(-1)[parameter.abs().flatten().topk(count, largest=False).indices] = 0.0


class _Rounded(_Compressing):
    """Masters are a state of the optimizer, so that a continued run has them."""

    def __init__(self, groups: list[dict[str, Any]], matrices: Iterable[nn.Parameter], *, settings: dict[str, Any],
                 grid: Callable[[torch.Tensor], torch.Tensor], begins: int) -> None:
        super().__init__(groups, matrices, settings)
        self._grid, self._begins = grid, begins

    def _before(self, parameter: nn.Parameter) -> None:
        if (master := self.state[parameter].get(_MASTER)) is not None:
            parameter.copy_(master)

    def _after(self, parameter: nn.Parameter, kept: None, step: int) -> None:
        if step >= self._begins:
            self.state[parameter][_MASTER] = parameter.detach().clone()
            parameter.copy_(self._grid(parameter))


preset("gradual-pruning", GradualPruning, papers=(534,))
preset("qat", RoundedWeights, papers=(366,))
preset("float-training", RoundedWeights, papers=(346,), grid="float", rounded_share=1.0)
