"""Rounding: weights on a grid of few values, the grid and the rounding fitted to what flows through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from scrimp.core.registry import Cost, preset
from scrimp.signals.activations import InputStatistics
from scrimp.signals.embeddings import hidden_states_of
from scrimp.signals.losses import losses
from scrimp.signals.passes import evaluating, padded
from scrimp.surgery.compression.base import Compression
from scrimp.surgery.compression.layerwise import PASSES, layerwise, linear_layers, require_rows

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Rounding", "allocate", "reconstructed", "rounded"]


class Rounding(Compression):
    """Put the weights of each linear layer on a grid of few values, with bits given to the layers that need them.

    Each row of W has a grid of ``2^bits`` evenly spaced values from its smallest to its largest weight, and zero. Plain
    rounding takes the nearest. ``fit="layerwise"`` moves the weights before they are rounded (V) and the spacing of
    the grid so that the layer's own output changes least on the calibration rows:
    ``min over V, spacing of E ||W x - Q(W + V) x||^2``, and mends a bias by what is left on average. It never takes a
    rounding that is worse there than the nearest.

    ``allocation="programme"`` tries each width of ``widths`` on each layer alone, and takes the widths with the
    smallest sum of losses whose size is at most ``bits`` a weight, by an integer programme. The loss is the model's
    own, or, of an encoder, which predicts no tokens, how far its last states move: ``||h - h'||^2 / ||h||^2``. Hubara
    et al. 2020, "Improving Post Training Neural Quantization: Layer-wise Calibration and Integer Programming".

    Attributes:
        bits: of each weight, on average over all weights of the linear layers.
        allocation: "uniform" gives all layers the same.
        widths: bits that a layer may get from the programme.
        probes: calibration rows on which the programme's losses are measured.
        fit: "nearest" or "layerwise".
        steps: of the fit of a layer, by Adam.
        rate: its learning rate, in spacings of the grid.
    """

    bits: float = Field(default=4.0, ge=1, le=16)
    allocation: Literal["uniform", "programme"] = "uniform"
    widths: tuple[int, ...] = (2, 3, 4, 8)
    probes: int = Field(default=16, ge=1)
    fit: Literal["nearest", "layerwise"] = "layerwise"
    steps: int = Field(default=100, ge=1)
    rate: float = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _feasible(self) -> Self:
        if self.allocation == "uniform" and self.bits != int(self.bits):
            raise ValueError(f"{self.bits} bits for all layers alike is no whole number; use allocation='programme'")
        if not self.widths or min(self.widths) < 1 or max(self.widths) > 16:
            raise ValueError("'widths' are from 1 to 16 bits")
        if self.allocation == "programme" and min(self.widths) > self.bits:
            raise ValueError(f"all widths are larger than {self.bits} bits")
        return self

    def apply(self, model: nn.Module, calibration: Sequence[Encoded]) -> nn.Module:
        require_rows(calibration)
        bits = self.widths_of(model, calibration)

        def put_on_grid(name: str, layer: nn.Linear, seen: InputStatistics) -> None:
            weight = layer.weight.detach().float()
            if self.fit == "nearest":
                found = rounded(weight, bits[name])
            else:
                found = reconstructed(weight, bits[name], seen, steps=self.steps, rate=self.rate)
            with torch.no_grad():
                if layer.bias is not None and self.fit == "layerwise":
                    layer.bias.add_(((weight - found).double() @ seen.mean).to(layer.bias.dtype))
                layer.weight.copy_(found)

        layerwise(model, calibration, put_on_grid, gram=self.fit == "layerwise")
        return model

    def widths_of(self, model: nn.Module, calibration: Sequence[Encoded]) -> dict[str, int]:
        """Bits of each linear layer."""
        layers = linear_layers(model)
        if self.allocation == "uniform":
            return dict.fromkeys(layers, int(self.bits))
        loss = _loss_of(model, calibration[:self.probes])
        harm = np.array([[_loss_with(layer, width, loss) for width in self.widths] for layer in layers.values()])
        sizes = [layer.weight.numel() for layer in layers.values()]
        return dict(zip(layers, allocate(harm, sizes, self.widths, self.bits), strict=True))

    def cost(self, model: nn.Module, rows: int) -> Cost:
        tried = len(linear_layers(model)) * len(self.widths) * min(self.probes, rows) / rows
        return Cost(forward=PASSES + (tried if self.allocation == "programme" else 0))


def allocate(harm: np.ndarray, sizes: Sequence[int], widths: Sequence[int], bits: float) -> list[int]:
    """The width of each layer with the least harm in sum and at most ``bits`` a weight on average.

    Args:
        harm: float64 [L, W], of each layer at each width.
        sizes: weights of each layer.
        widths: W numbers of bits.
        bits: at least the smallest width.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    layers = len(sizes)
    one_each = np.kron(np.eye(layers), np.ones(len(widths)))
    size = np.outer(sizes, widths).ravel()[None]
    solved = milp(harm.ravel(), integrality=np.ones(harm.size), bounds=Bounds(0, 1),
                  constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(size, -np.inf, bits * sum(sizes))])
    return [widths[i] for i in solved.x.reshape(layers, -1).argmax(axis=1)]


def rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """``weight`` [R, D] at the nearest values of each row's grid."""
    spacing, zero = _grid(weight, bits)
    return _on_grid(weight / spacing, spacing, zero, bits)


def reconstructed(weight: torch.Tensor, bits: int, seen: InputStatistics, *, steps: int, rate: float) -> torch.Tensor:
    """``weight`` [R, D] on a grid for which the layer's output on what was ``seen`` changes least.

    Row by row the best of all steps is taken, the nearest rounding among them.
    """
    assert seen.gram is not None
    gram = (seen.gram / seen.count).clone().float()
    start, zero = _grid(weight, bits)
    moved, stretch = torch.zeros_like(weight), torch.zeros_like(start)
    best = _on_grid(weight / start, start, zero, bits)
    least = _error(best - weight, gram).detach()
    with torch.enable_grad():
        moved.requires_grad_(True)
        stretch.requires_grad_(True)
        optimizer = torch.optim.Adam([{"params": [moved], "lr": rate}, {"params": [stretch], "lr": rate / 10}])
        for step in range(steps):
            for group, highest in zip(optimizer.param_groups, (rate, rate / 10), strict=True):
                group["lr"] = highest * (1 - step / steps)
            spacing = start * stretch.exp()
            found = _on_grid(weight / spacing + moved, spacing, zero, bits)
            error = _error(found - weight, gram)
            optimizer.zero_grad()
            (error / least.clamp(min=1e-12)).sum().backward()
            better = error.detach() < least
            best = torch.where(better[:, None], found.detach(), best)
            least = torch.where(better, error.detach(), least)
            optimizer.step()
    return best


def _grid(weight: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The spacing and the number of the value zero in each row's grid, both [R, 1]."""
    low = weight.amin(dim=1, keepdim=True).clamp(max=0)
    high = weight.amax(dim=1, keepdim=True).clamp(min=0)
    spacing = ((high - low) / (2**bits - 1)).clamp(min=1e-12)
    return spacing, (-low / spacing).round()


def _on_grid(steps: torch.Tensor, spacing: torch.Tensor, zero: torch.Tensor, bits: int) -> torch.Tensor:
    """Values [R, D] from numbers of spacings; gradients pass the rounding as they are, and stop at the grid's ends."""
    nearest = steps + (steps.round() - steps).detach()
    return spacing * (torch.minimum(torch.maximum(nearest, -zero), 2**bits - 1 - zero))


def _error(change: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """E (change x)^2 of each row, [R], from the mean outer product of x."""
    return ((change @ gram) * change).sum(dim=1)


def _loss_of(model: Any, rows: Sequence[Encoded]) -> Callable[[], float]:
    """What the model loses on the rows as it then is: a token, or, of an encoder, of its states as they are now."""
    if model.get_output_embeddings() is not None:
        return lambda: -float(np.concatenate([row.log_probability for row in losses(model, rows)]).mean())
    ids, real = padded([row.ids for row in rows], 0, left=False, device=next(model.parameters()).device)

    def states() -> torch.Tensor:
        with evaluating(model):
            return hidden_states_of(model)(input_ids=ids, attention_mask=real).last_hidden_state[real.bool()].float()

    whole = states()
    return lambda: float((states() - whole).square().sum() / whole.square().sum())


def _loss_with(layer: nn.Linear, bits: int, loss: Callable[[], float]) -> float:
    """The loss when this layer alone is rounded."""
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.copy_(rounded(before.float(), bits))
    try:
        return loss()
    finally:
        with torch.no_grad():
            layer.weight.copy_(before)


preset("rtn", Rounding, fit="nearest")
preset("adaquant", Rounding, papers=(84,))
preset("adaquant-mixed", Rounding, papers=(84,), allocation="programme")
preset("mixed-rtn", Rounding, fit="nearest", allocation="programme")
