"""Keys and values of rows that come and go: each row has a place of its own and is written at its own length.

A row that joins is copied in once; one that leaves is replaced by the last one. Nobody else's numbers are moved, and a
step writes one column a row, where transformers' growing cache would copy everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from scrimp.core.errors import ModelError

__all__ = ["SlotCache"]

_BLOCK = 64  # columns by which room grows at least


class SlotCache:
    """Room for the keys and values of up to ``rows`` rows, as it is needed.

    Args:
        rows: places.
        context: longest row, in tokens.

    Attributes:
        lengths: tokens of each row that is in, in the order of their places.
    """

    def __init__(self, rows: int, context: int) -> None:
        self.rows, self.context = rows, context
        self.lengths: list[int] = []
        self._layers: list[_SlotLayer] = []

    @property
    def bytes(self) -> int:
        """That are taken at the moment."""
        return sum(part.numel() * part.element_size() for layer in self._layers for part in layer.parts)

    @torch.inference_mode()
    def add(self, computed: Any, lengths: Sequence[int]) -> None:
        """Rows join behind those that are in.

        Args:
            computed: transformers' cache after rows that are padded on the left.
            lengths: real tokens of each of these rows.

        Raises:
            ModelError: if the model keeps something else than the keys and values of all tokens.
        """
        layers = getattr(computed, "layers", [])
        width = max(lengths)
        if not layers or not all(isinstance(layer, DynamicLayer) and layer.keys is not None
                                 and layer.keys.shape[-2] == width for layer in layers):
            raise ModelError("the model keeps something else than keys and values of all tokens",
                             why="rows that come and go need these", fix="ask it with scrimp predict")
        if not self._layers:
            self._layers = [_SlotLayer(self.rows, layer) for layer in layers]
        self._reserve(width)
        for own, layer in zip(self._layers, layers, strict=True):
            for row, length in enumerate(lengths):
                own.take(len(self.lengths) + row, layer, row, length)
        self.lengths += lengths

    @torch.inference_mode()
    def drop(self, place: int) -> None:
        """A row leaves, and the last one takes its place."""
        last = len(self.lengths) - 1
        for layer in self._layers:
            layer.move(last, place, self.lengths[last], self.lengths[place])
        self.lengths[place] = self.lengths[last]
        self.lengths.pop()
        if not self.lengths:
            self._layers = []  # the room goes back

    @torch.inference_mode()
    def next(self, dtype: torch.dtype, device: Any) -> tuple[_StepCache, Tensor, Tensor]:
        """For one more token of each row: the cache, its additive mask [B, 1, 1, W], and positions [B, 1]."""
        self._reserve(max(self.lengths) + 1)
        at = torch.tensor(self.lengths, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        hidden = torch.arange(max(self.lengths), device=device) > at[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, torch.finfo(dtype).min)
        for layer in self._layers:
            layer.at, layer.width = at, max(self.lengths)
        return _StepCache(layers=list(self._layers)), mask[:, None, None], at[:, None]

    def _reserve(self, width: int) -> None:
        if self._layers and width > self._layers[0].room:
            grown = max(width, self._layers[0].room * 3 // 2)
            for layer in self._layers:
                layer.grow(min(-(-grown // _BLOCK) * _BLOCK, max(self.context, width)), len(self.lengths))


class _StepCache(Cache):
    """What transformers' models take, for one step."""


class _SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, room, D] each, zeros where nothing is written.

    Zeros, because what is masked is still multiplied: by a probability of zero, which of a NaN makes a NaN.
    """

    is_sliding = False

    def __init__(self, rows: int, like: Any) -> None:
        super().__init__()
        self.parts = [part.new_zeros((rows, part.shape[1], 0, part.shape[3])) for part in (like.keys, like.values)]
        self.at, self.width = torch.zeros(0, dtype=torch.long), 0
        self.is_initialized = True

    @property
    def room(self) -> int:
        return self.parts[0].shape[2]

    def grow(self, room: int, rows: int) -> None:
        for number, part in enumerate(self.parts):
            self.parts[number] = part.new_zeros((*part.shape[:2], room, part.shape[3]))
            self.parts[number][:rows, :, :part.shape[2]] = part[:rows]  # what nobody writes takes no memory

    def take(self, place: int, layer: Any, row: int, length: int) -> None:
        for part, computed in zip(self.parts, (layer.keys, layer.values), strict=True):
            part[place, :, :length] = computed[row, :, computed.shape[2] - length:]

    def move(self, source: int, place: int, length: int, before: int) -> None:
        for part in self.parts:
            if source != place:
                part[place, :, :length] = part[source, :, :length]
            part[place, :, length if source != place else 0:before] = 0.0
            part[source, :, :length] = 0.0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(self.at), device=key_states.device)
        for part, states in zip(self.parts, (key_states, value_states), strict=True):
            part[rows, :, self.at] = states[:, :, 0].to(part.dtype)
        keys, values = (part[:len(rows), :, :self.width] for part in self.parts)
        return keys, values

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Room is there from the beginning."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.width, 0

    def get_seq_length(self) -> int:
        return max(self.width - 1, 0)

    def get_max_length(self) -> int:
        return -1
