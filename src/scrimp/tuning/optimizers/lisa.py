"""AdamW that moves a few layers at a time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import nn

from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, preset
from scrimp.tuning.optimizers.adamw import AdamFamily
from scrimp.tuning.optimizers.base import adam_bytes

__all__ = ["LISA"]

_LAYER = re.compile(r"(.*?\.\d+)\.")  # as in `model.layers.3.` and `encoder.layer.3.`


class LISA(AdamFamily):
    """Let a few layers, drawn at random, move for some steps while the others are frozen, then draw others.

    What belongs to no numbered layer (embeddings, output layer, last norm, head) always moves. A layer that is frozen
    costs neither gradient nor optimizer state: its running means are dropped, and start anew when it is drawn again.
    Pan et al. 2024, "LISA: Layerwise Importance Sampling for Memory-Efficient Large Language Model Fine-Tuning".

    Attributes:
        layers_at_once: layers that move at a time.
        redraw_every: steps after which others are drawn.
    """

    layers_at_once: int = Field(default=2, ge=1)
    redraw_every: int = Field(default=20, ge=1)

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        """See `Optimizer.build`.

        Raises:
            ModelError: if what moves lies in no numbered layers, or in no more than move at once.
        """
        named = dict(named_parameters)
        layers = _layers(named)
        if len(layers) <= self.layers_at_once:
            raise ModelError(f"there are {len(layers)} layers that move, and {self.layers_at_once} would at a time",
                             where="optimizer lisa", fix="choose fewer layers_at_once, or optimizer: adamw")
        return _LISA(self.groups(named.values()), list(layers.values()), at_once=self.layers_at_once,
                     every=self.redraw_every, seed=torch.initial_seed(), settings=self.settings())

    def cost(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Cost:
        named = dict(named_parameters)
        layers = sorted((adam_bytes(layer) for layer in _layers(named).values()), reverse=True)
        return Cost(state_bytes=adam_bytes(named.values()) - sum(layers[self.layers_at_once:]))


def _layers(named: Mapping[str, nn.Parameter]) -> dict[str, list[nn.Parameter]]:
    """The parameters of each numbered layer."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        if found := _LAYER.match(name):
            layers.setdefault(found[1], []).append(parameter)
    return layers


class _LISA(torch.optim.AdamW):
    def __init__(self, groups: list[dict[str, Any]], layers: list[list[nn.Parameter]], *, at_once: int, every: int,
                 seed: int, settings: Mapping[str, Any]) -> None:
        super().__init__(groups, **settings, fused=True)
        self._layers, self._at_once, self._every, self._seed = layers, at_once, every, seed

    def enter_step(self, step: int) -> None:
        """Freeze and free layers as the draw for this step says."""
        draw = random.Random(f"{self._seed} {step // self._every}")
        free = draw.sample(range(len(self._layers)), self._at_once)
        for number, layer in enumerate(self._layers):
            for parameter in layer:
                parameter.requires_grad_(number in free)
                if number not in free:
                    parameter.grad = None
                    self.state.pop(parameter, None)


preset("lisa", LISA, papers=(68,))
