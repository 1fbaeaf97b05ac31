"""Growth in width: more neurons, heads and channels, made of those that are there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import Field

from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.surgery.growth.base import Growth

__all__ = ["WidthGrowth"]

#: decoders of one construction: RMSNorm before attention and gated MLP, nothing scaled by the width
_KNOWN = ("llama", "mistral", "qwen2", "qwen3")
_LAYER = re.compile(r"(.*?\.)(\d+)(\..+)")


class WidthGrowth(Growth):
    """Make a decoder ``factor`` times as wide: channels, heads and MLP neurons are copies of those that are there.

    Each new unit j copies unit g(j); the first ones are the old ones, the rest are drawn as evenly as the sizes permit.
    What reads m copies of one unit reads each with 1/m of its weight. Of the residual stream, channel j holds
    c_j x_g(j) with c_j = sqrt(D' / (D m_g(j))), so that the mean square that RMSNorm divides by stays that of x,
    however uneven the copies; the norms' weights take c_j back (at an output layer tied to the embeddings, the last one
    takes w D / D'). Heads are copied in whole groups of a key-value head and its queries, and keep their size.

    - bert2bert-fpi (``copy_from="own"``): function-preserving for every factor, up to rounding: the logits of a float32
      model differ by less than 1e-5 of their size.
    - bert2bert-aki (``copy_from="next"``): the new rows of each layer's matrices come from the layer above, which
      breaks the symmetry of the copies and brings in knowledge from above; not function-preserving. The last layer
      copies its own.

    Chen et al. 2022, "bert2BERT: Towards Reusable Pretrained Language Models", where the function is kept up to the
    norms.

    Attributes:
        factor: how many times as wide; rounded to whole heads, and channels to a multiple of the heads.
        copy_from: the layer that new rows are copied from: the own one, or the next above.
    """

    factor: float = Field(default=2.0, ge=1, le=64)
    copy_from: Literal["own", "next"] = "own"

    def apply(self, weights: Mapping[str, torch.Tensor], config: Mapping[str, Any], *,
              seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        larger = self.grown(config)
        maps = _Maps.between(config, larger, seed)
        grown = {name: maps.expanded(name, tensor) for name, tensor in weights.items()}
        if self.copy_from == "own":
            return grown, larger
        return {name: torch.cat([tensor[:len(weights[name])], grown[above][len(weights[name]):]])
                if (above := _above(name)) in grown and tensor.dim() == 2 else tensor
                for name, tensor in grown.items()}, larger

    def grown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        if config.get("model_type") not in _KNOWN:
            raise ModelError(f"a decoder of type '{config.get('model_type')}' cannot be grown in width",
                             fix=f"take one of {', '.join(_KNOWN)}")
        old = _Sizes.of(config)
        groups = round(old.groups * self.factor)
        heads = groups * old.queries
        return {**config, "hidden_size": heads * math.ceil(old.hidden * self.factor / heads), "head_dim": old.head,
                "intermediate_size": round(old.neurons * self.factor), "num_key_value_heads": groups,
                "num_attention_heads": heads}


@dataclass(frozen=True)
class _Sizes:
    """Channels, MLP neurons, key-value heads, query heads of each of these, and numbers of a head."""

    hidden: int
    neurons: int
    groups: int
    queries: int
    head: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> _Sizes:
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        groups = config.get("num_key_value_heads") or heads
        return cls(hidden, config["intermediate_size"], groups, heads // groups,
                   config.get("head_dim") or hidden // heads)


@dataclass(frozen=True)
class _Copies:
    """Which of ``old`` units each new one copies; the first are the old ones themselves."""

    source: torch.Tensor
    old: int

    @classmethod
    def drawn(cls, old: int, new: int, chance: torch.Generator) -> _Copies:
        rounds = [torch.arange(old)]
        while len(rounds) * old < new:
            rounds.append(torch.randperm(old, generator=chance))
        return cls(torch.cat(rounds)[:new], old)

    def of_blocks(self, size: int) -> _Copies:
        """The copies of numbers where a unit is a block of ``size`` of them."""
        return _Copies((self.source[:, None] * size + torch.arange(size)).flatten(), self.old * size)

    @cached_property
    def times(self) -> torch.Tensor:
        """How many copies there are of the unit that each new one copies."""
        return self.source.bincount(minlength=self.old)[self.source].double()


_Axis = tuple[_Copies | None, torch.Tensor | None]


@dataclass(frozen=True)
class _Maps:
    """How each kind of axis grows."""

    hidden: _Copies
    neurons: _Copies
    keys: _Copies
    queries: _Copies
    tied: bool

    @classmethod
    def between(cls, config: Mapping[str, Any], larger: Mapping[str, Any], seed: int) -> _Maps:
        old, new, chance = _Sizes.of(config), _Sizes.of(larger), torch.Generator().manual_seed(seed)
        groups = _Copies.drawn(old.groups, new.groups, chance)
        return cls(hidden=_Copies.drawn(old.hidden, new.hidden, chance),
                   neurons=_Copies.drawn(old.neurons, new.neurons, chance), keys=groups.of_blocks(old.head),
                   queries=groups.of_blocks(old.head * old.queries), tied=bool(config.get("tie_word_embeddings")))

    @cached_property
    def axes(self) -> dict[str, tuple[_Axis, ...]]:
        """Of each kind of tensor, for each axis: what its units copy, and what each of them is multiplied by."""
        hidden, neurons, queries, keys = self.hidden, self.neurons, self.queries, self.keys
        stream = (len(hidden.source) / (hidden.old * hidden.times)).sqrt()  # c_j: what a channel holds of its original
        kept, reads, writes, norm = (None, None), (hidden, 1 / hidden.times), (hidden, stream), (hidden, 1 / stream)
        last = (hidden, torch.full_like(stream, hidden.old / len(stream))) if self.tied else norm
        return {"embed_tokens": (kept, writes), "norm": (last,), "lm_head": (kept, writes if self.tied else reads),
                "input_layernorm": (norm,), "post_attention_layernorm": (norm,), "q_norm": (kept,), "k_norm": (kept,),
                "q_proj": ((queries, None), reads), "k_proj": ((keys, None), reads), "v_proj": ((keys, None), reads),
                "o_proj": (writes, (queries, 1 / queries.times)), "gate_proj": ((neurons, None), reads),
                "up_proj": ((neurons, None), reads), "down_proj": (writes, (neurons, 1 / neurons.times))}

    def expanded(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor with all its axes grown, so that the function stays."""
        part = name.removesuffix(".weight").removesuffix(".bias").rsplit(".", 1)[-1]
        if part not in self.axes:
            raise ModelError("this tensor is none of a Llama-like decoder's", where=name)
        wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        for axis, (copies, scales) in zip(range(tensor.dim()), self.axes[part], strict=False):
            if copies is not None:
                wide = wide.index_select(axis, copies.source.to(wide.device))
            if scales is not None:
                wide = wide * scales.to(wide).view(-1, *[1] * (wide.dim() - axis - 1))
        return wide.to(tensor.dtype)


def _above(name: str) -> str:
    """The name of the same tensor one layer up; of what is in no layer, a name that nothing has."""
    found = _LAYER.fullmatch(name)
    return f"{found[1]}{int(found[2]) + 1}{found[3]}" if found else ""


preset("bert2bert-fpi", WidthGrowth, papers=(496,))
preset("bert2bert-aki", WidthGrowth, papers=(496,), copy_from="next")
