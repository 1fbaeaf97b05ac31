"""Rows of one batch under adapters of their own: one base model, many low-rank updates, of mixed ranks.

The base's product is computed once for all rows. What the adapters add is computed by two products for the whole batch
as well: the thin matrices of all adapters in use stand side by side, and of the thin products a row keeps those of its
own adapter, the others are multiplied by zero. So nothing is padded to the largest rank, and the number of operations
does not grow with the number of adapters. Sheng et al. 2024, "S-LoRA: Serving Thousands of Concurrent LoRA Adapters",
gathers by kernels instead; what both have in common is that each adapter's weights are read once a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scrimp.checkpoints.lowrank import LowRankAdapter
from scrimp.checkpoints.quantized import weight_dtype
from scrimp.core.errors import ModelError, nearest

__all__ = ["MixedAdapters"]

_IDLE_RANK = 256  # of adapters that no row uses at the moment, and that stay side by side with the others


@dataclass(frozen=True)
class _Thin:
    """Of one layer: ``downs`` [R, I] and ``ups`` [R, O], of one adapter or of several side by side."""

    downs: Tensor
    ups: Tensor


@dataclass(frozen=True)
class _Stack:
    """Of one layer, with which part of R is whose."""

    thin: _Thin
    spans: tuple[tuple[str, int, int], ...]

    def share(self, rows: Sequence[str | None]) -> Tensor:
        """Ones where a row's own adapter stands, [B, R], in the stack's dtype."""
        found = self.thin.downs.new_zeros(len(rows), len(self.thin.downs))
        for name, start, end in self.spans:
            for row, wanted in enumerate(rows):
                if wanted == name:
                    found[row, start:end] = 1.0
        return found


class MixedAdapters:
    """Adapters over one frozen model. Outside of its blocks the model is the base.

    Args:
        model: whose linear layers get hooks; no weight is changed.
        adapters: by name; see `checkpoints.lowrank.read_low_rank`. They are held in the layers' own precision.

    Raises:
        ModelError: if an adapter's shapes are not those of the model's layers.
    """

    def __init__(self, model: nn.Module, adapters: Mapping[str, LowRankAdapter]) -> None:
        self._own: dict[str, dict[str, _Thin]] = {
            name: {layer: _placed(model, layer, pair.down, pair.up) for layer, pair in adapter.items()}
            for name, adapter in adapters.items()}
        self._ranks = {name: max((len(thin.downs) for thin in own.values()), default=0)
                       for name, own in self._own.items()}
        self._held: tuple[str, ...] = ()
        self._stacks: dict[str, _Stack] = {}
        self._now: Mapping[str, tuple[_Thin, Tensor | None]] = {}
        self._rows = 1
        self._hooks = [model.get_submodule(layer).register_forward_hook(partial(self._after, layer))
                       for layer in sorted({layer for own in self._own.values() for layer in own})]

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters, in the order in which they were given."""
        return tuple(self._own)

    @property
    def held(self) -> tuple[str, ...]:
        """The adapters that stand side by side at the moment."""
        return self._held

    def remove(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def all_rows(self, name: str | None) -> Iterator[None]:
        """Within the block every row of every batch is under adapter ``name``, or None for the base."""
        self._now = {} if name is None else {layer: (thin, None) for layer, thin in self._of(name).items()}
        try:
            yield
        finally:
            self._now = {}

    @contextmanager
    def rows(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within the block batches have one row for each of ``names``, under that adapter; None is the base.

        Raises:
            ModelError: if there is no such adapter.
        """
        if len(set(names)) == 1:
            with self.all_rows(names[0]):
                yield
            return
        self._hold(dict.fromkeys(name for name in names if name is not None))
        shares: dict[tuple[Any, ...], Tensor] = {}
        for stack in self._stacks.values():
            if stack.spans not in shares:  # all layers alike, as a rule
                shares[stack.spans] = stack.share(names)
        self._now = {layer: (stack.thin, shares[stack.spans]) for layer, stack in self._stacks.items()}
        self._rows = len(names)
        try:
            yield
        finally:
            self._now = {}

    def _of(self, name: str) -> dict[str, _Thin]:
        if name not in self._own:
            raise ModelError(f"there is no adapter '{name}'; {nearest(name, self._own)}")
        return self._own[name]

    def _hold(self, used: Mapping[str, None]) -> None:
        """Have the adapters in use side by side, with some that were, so that rows that come back cost nothing."""
        for name in used:
            self._of(name)
        idle = sum(self._ranks[name] for name in self._held if name not in used)
        if set(used) <= set(self._held) and idle <= _IDLE_RANK:
            return
        kept, room = list(used), _IDLE_RANK // 2
        for name in self._held:
            if name not in used and self._ranks[name] <= room:
                kept.append(name)
                room -= self._ranks[name]
        self._held = tuple(kept)
        layers = sorted({layer for name in kept for layer in self._own[name]})
        self._stacks = {layer: self._stacked(layer) for layer in layers}

    def _stacked(self, layer: str) -> _Stack:
        found = [(name, self._own[name][layer]) for name in self._held if layer in self._own[name]]
        spans, start = [], 0
        for name, thin in found:
            spans.append((name, start, start + len(thin.downs)))
            start += len(thin.downs)
        return _Stack(_Thin(torch.cat([thin.downs for _, thin in found]), torch.cat([thin.ups for _, thin in found])),
                      tuple(spans))

    def _after(self, name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if name not in self._now:
            return output
        thin, share = self._now[name]
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        narrow = x.to(thin.downs.dtype) @ thin.downs.t()
        if share is not None:
            narrow = (narrow.view(self._rows, -1, narrow.shape[-1]) * share[:, None]).view(narrow.shape)
        flat = output.reshape(-1, output.shape[-1])
        return flat.addmm_(narrow, thin.ups).view(output.shape)


def _placed(model: nn.Module, layer: str, down: Tensor, up: Tensor) -> _Thin:
    base: Any = model.get_submodule(layer)
    if down.shape[1] != base.in_features or up.shape != (base.out_features, len(down)):
        raise ModelError("the adapter does not fit this model", where=layer,
                         why=f"{list(up.shape)} by {list(down.shape)} beside a layer of {base.out_features} by "
                             f"{base.in_features}")
    device, dtype = next(base.parameters()).device, weight_dtype(base)
    return _Thin(down.to(device, dtype).contiguous(), up.t().to(device, dtype).contiguous())
