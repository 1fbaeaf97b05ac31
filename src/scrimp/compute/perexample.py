"""The gradients of many rows from one backward pass, each row's by itself.

A gradient of a weight is a sum over tokens of outer products. Rows that are packed side by side share no token, so the
sum over one row's tokens is that row's gradient: what one pass over many rows holds is enough for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from scrimp.compute.decoder import Packed, is_in_use, is_plain_low_rank, packed, packed_of
from scrimp.compute.forest import Forest
from scrimp.compute.lowrank import Record
from scrimp.compute.output import token_losses
from scrimp.compute.replacing import replaced

__all__ = ["Rowwise", "rowwise"]

_CHUNK = 256  # predicted tokens whose logits are held at once

#: told of a parameter's name and its gradient in each row, float32 [rows, *shape of the parameter]
Told = Callable[[str, torch.Tensor], None]


@dataclass
class Rowwise:
    """A decoder whose gradients are told row by row.

    Attributes:
        path: the fast path that the decoder is on.
        head: the output layer.
    """

    path: Packed
    head: nn.Module
    _names: Mapping[int, str]
    _tell: Told | None = None
    _lengths: Sequence[int] = ()

    def gradients(self, rows: Sequence[np.ndarray], trained: Sequence[np.ndarray], tell: Told) -> torch.Tensor:
        """Tell, for each parameter that moves, the gradient of every row's mean loss over its trained tokens.

        Args:
            rows: int64 [length] each, token ids.
            trained: bool [length] each, what is to be learned; a first token is not predicted and does not count.
            tell: is called once for each parameter.

        Returns:
            The mean losses, float32 [rows], in nats a token.
        """
        forest = Forest.of(rows, shared=False)
        device = next(self.head.parameters()).device
        wanted = [np.flatnonzero(one[1:]) for one in trained]
        counts = torch.tensor([len(one) for one in wanted], device=device)
        places = torch.from_numpy(np.concatenate([p[at] for p, at in zip(forest.places, wanted, strict=True)]))
        targets = torch.from_numpy(np.concatenate([row[at + 1] for row, at in zip(rows, wanted, strict=True)]))
        self._tell, self._lengths = tell, [len(row) for row in rows]
        try:
            states = self.path.forest_states(forest, device, places.to(device))
            losses = token_losses(states, targets.to(device), self.head, chunk=_CHUNK)
            owner = torch.repeat_interleave(torch.arange(len(rows), device=device), counts)
            means = torch.zeros(len(rows), device=device).index_add(0, owner, losses / counts[owner])
            means.sum().backward()
        finally:
            self._tell, self._lengths = None, ()
        return means.detach()

    def record(self, weight: torch.Tensor, inputs: torch.Tensor, towards: torch.Tensor) -> None:
        """Told of a weight [O, I], its inputs [T, I] and the gradient towards its outputs [T, O]."""
        assert self._tell is not None
        self._tell(self._names[id(weight)], self.path.kernels.outer_sums(towards, inputs, self._lengths))


@contextmanager
def rowwise(model: Any, body: Any, head: nn.Module) -> Iterator[Rowwise | str]:
    """Within the block the decoder ``body`` of ``model`` gives what moves no gradients but tells them row by row.

    Gives the reason why not where it cannot: the decoder is of no known family, or something else moves than the
    weights of its linear and low-rank layers.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    plain = list(_plain_linear(body))
    told = {id(layer.weight) for layer in plain} | {id(weight) for weight in _low_rank_weights(body)}
    if other := [name for key, name in names.items() if key not in told]:
        yield f"{other[0]} is no weight of a linear layer of the decoder"
        return
    with packed(body) as reason:
        if reason is not None:
            yield reason
            return
        path = packed_of(body)
        assert path is not None
        path.narrows = False  # so that every layer sees all tokens of a row
        made = Rowwise(path, head, names)
        path.record = made.record
        moving = [layer for layer in plain if layer.weight.requires_grad]
        with replaced({layer: _recorded(layer, made.record) for layer in moving}):
            yield made


def _low_rank_weights(body: nn.Module) -> Iterator[torch.Tensor]:
    module: Any
    for module in body.modules():
        if is_plain_low_rank(module) and is_in_use(module):
            name = module.active_adapters[0]
            yield from (module.lora_A[name].weight, module.lora_B[name].weight)


def _plain_linear(body: nn.Module) -> Iterator[nn.Linear]:
    """Linear layers that are called as they are: not those under a low-rank one, or with hooks."""
    inside = {id(part) for module in body.modules() if hasattr(module, "base_layer") for part in module.modules()}
    for module in body.modules():
        hooked = module._forward_hooks or module._forward_pre_hooks
        if type(module) is nn.Linear and id(module) not in inside and not hooked:
            yield module


class _Recorded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: nn.Linear, record: Record, _: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.layer, ctx.record = layer, record
        return nn.functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,), weight = ctx.saved_tensors, ctx.layer.weight
        towards = gradients[0].reshape(-1, weight.shape[0])
        ctx.record(weight, x.reshape(-1, weight.shape[1]), towards)
        return gradients[0] @ weight if ctx.needs_input_grad[0] else None, None, None, None


def _recorded(layer: nn.Linear, record: Record) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: _Recorded.apply(x, layer, record, layer.weight)
