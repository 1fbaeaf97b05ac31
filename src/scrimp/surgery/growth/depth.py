"""Growth in depth: more layers, made of those that are there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field

from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.surgery.growth.base import Growth

__all__ = ["DepthGrowth"]

_LAYER = re.compile(r"(.*?\.)(\d+)(\..+)")
#: what writes into the residual stream: where it is zero, a layer passes on what it is given
_WRITES = re.compile(r".*\.(o_proj|down_proj)\.(weight|bias)")
_INITIAL_STD = 0.02  # where the configuration names none


class DepthGrowth(Growth):
    """Make a decoder ``factor`` times as deep.

    With L layers, layer i of the larger model is

    - stack: layer i mod L, the whole pile put on top of itself. Du et al. 2024, "Stacking Your Transformers: A Closer
      Look at Model Growth for Efficient LLM Pre-Training", where it beats every other way.
    - interpolate: layer i // factor, each one repeated in its place.
    - zero: as stack, but what the new layers write is zero, so that the outputs are those of the smaller model.
    - random: new from layer L on, drawn as an untrained model's.

    Attributes:
        factor: how many times as many layers; the paper advises 2 to 4.
        layers: what the new layers are.
    """

    factor: int = Field(default=2, ge=1)
    layers: Literal["stack", "interpolate", "zero", "random"] = "stack"

    def apply(self, weights: Mapping[str, torch.Tensor], config: Mapping[str, Any], *,
              seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        prefix, layers = _layers(weights, config)
        within = re.compile(re.escape(prefix) + r"\d+\.")
        grown = {name: tensor.clone() for name, tensor in weights.items() if not within.match(name)}
        chance = torch.Generator().manual_seed(seed)
        for place, source in enumerate(self._sources(len(layers))):
            for ending, tensor in layers[source].items():
                new = place >= len(layers) and self.layers in ("zero", "random")
                grown[f"{prefix}{place}{ending}"] = self._fresh(ending, tensor, config, chance) if new \
                    else tensor.clone()
        return grown, self.grown(config)

    def grown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        count = int(config["num_hidden_layers"])
        told = {**config, "num_hidden_layers": count * self.factor}
        if kinds := config.get("layer_types"):
            told["layer_types"] = [kinds[source] for source in self._sources(count)]
        return told

    def _sources(self, count: int) -> list[int]:
        """Which layer each of the larger model's comes from."""
        places = range(count * self.factor)
        return [place // self.factor if self.layers == "interpolate" else place % count for place in places]

    def _fresh(self, ending: str, tensor: torch.Tensor, config: Mapping[str, Any],
               chance: torch.Generator) -> torch.Tensor:
        if self.layers == "zero":
            return torch.zeros_like(tensor) if _WRITES.fullmatch(ending) else tensor.clone()
        if tensor.dim() < 2:  # a norm or a bias
            return torch.zeros_like(tensor) if ending.endswith("bias") else torch.ones_like(tensor)
        std = config.get("initializer_range") or _INITIAL_STD
        return torch.randn(tensor.shape, generator=chance).mul(std).to(tensor)


def _layers(weights: Mapping[str, torch.Tensor],
            config: Mapping[str, Any]) -> tuple[str, list[dict[str, torch.Tensor]]]:
    """What precedes a layer's number in the names, and each layer's tensors by what follows it."""
    piles: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    for name, tensor in weights.items():
        if found := _LAYER.fullmatch(name):
            prefix, place, ending = found.groups()
            piles.setdefault(prefix, {}).setdefault(int(place), {})[ending] = tensor
    count = config.get("num_hidden_layers")
    fitting = [(prefix, pile) for prefix, pile in piles.items() if sorted(pile) == list(range(count or 0))]
    if len(fitting) != 1 or not count:
        raise ModelError("the model's layers cannot be told from the names of its tensors",
                         why=f"the configuration has num_hidden_layers {count}, the names have "
                             f"{ {prefix: len(pile) for prefix, pile in piles.items()} or 'no numbers'}",
                         fix="grow a decoder such as Llama, Mistral or Qwen")
    prefix, pile = fitting[0]
    if not any(_WRITES.fullmatch(ending) for ending in pile[0]):
        raise ModelError("the layers have no o_proj and down_proj", where=prefix, why="this is no decoder of that kind",
                         fix="grow a decoder such as Llama, Mistral or Qwen")
    return prefix, [pile[place] for place in range(count)]


preset("stack", DepthGrowth, papers=(567,))
preset("interpolate", DepthGrowth, layers="interpolate")
preset("zero-layers", DepthGrowth, layers="zero")
preset("random-layers", DepthGrowth, layers="random")
