"""Block after block: each linear layer is changed by what flows into it when all blocks before it are changed already.

The calibration rows pass the whole model once, so that it is known with what each block is called; then each block is
passed twice, once to see what flows into its layers and once, when they are changed, for what flows into the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scrimp.core.errors import DataError, ModelError
from scrimp.core.progress import bar
from scrimp.signals.activations import InputStatistics, recording
from scrimp.signals.passes import by_length, evaluating, padded

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["PASSES", "blocks_of", "layerwise", "linear_layers", "require_rows"]

PASSES = 3  #: through each block

Visit = Callable[[str, nn.Linear, InputStatistics], None]


@dataclass
class _Flow:
    """A batch on its way: the states before the next block, and what else each block is given.

    Attributes:
        real: [B, L], 1 for tokens.
        states: [B, L, D].
        beside: the other arguments of each block, in order, by place and by name: masks, positions.
    """

    real: torch.Tensor
    states: torch.Tensor
    beside: list[tuple[tuple[Any, ...], dict[str, Any]]]


def layerwise(model: nn.Module, calibration: Sequence[Encoded], visit: Visit, *, gram: bool = False) -> None:
    """Call ``visit(name, layer, statistics of its inputs)`` for each linear layer of the blocks, which it may change.

    Args:
        model: of transformer blocks in a list.
        calibration: rows; all their tokens count.
        visit: changes the weights of a layer in place; called outside of any pass.
        gram: whether the statistics are to have the inputs' outer products.

    Raises:
        ModelError: if there are no blocks, or they are not called one after the other.
        DataError: if there are no rows.
    """
    require_rows(calibration)
    name, blocks = blocks_of(model)
    flows = _flows(model, blocks, calibration)
    with bar("compressing", len(blocks)) as shown:
        for place, block in enumerate(blocks):
            layers = {inner: module for inner, module in block.named_modules() if isinstance(module, nn.Linear)}
            with evaluating(model), recording(layers, gram=gram) as record:
                for flow in flows:
                    record.real = flow.real
                    _passed(block, flow, place)
            for inner, layer in layers.items():
                visit(f"{name}.{place}.{inner}", layer, record.found[inner])
            with evaluating(model):
                for flow in flows:
                    flow.states = _passed(block, flow, place)
            shown.advance(1)


def require_rows(calibration: Sequence[Encoded]) -> None:
    """Raise a DataError if there is nothing to calibrate on."""
    if not calibration:
        raise DataError("there is nothing to calibrate on", fix="give a few dozen rows like those that are to come")


def blocks_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of the model's blocks, which is the one with the most parameters, and its name.

    Raises:
        ModelError: if no list holds a linear layer.
    """
    lists = [(name, module) for name, module in model.named_modules()
             if isinstance(module, nn.ModuleList) and any(isinstance(inner, nn.Linear) for inner in module.modules())]
    if not lists:
        raise ModelError("there are no blocks with linear layers in this model", where=type(model).__name__)
    return max(lists, key=lambda found: sum(p.numel() for p in found[1].parameters()))


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of the blocks by name: what is compressed; embeddings and the output layer are not."""
    name, blocks = blocks_of(model)
    return {f"{name}.{inner}": module for inner, module in blocks.named_modules() if isinstance(module, nn.Linear)}


def _flows(model: Any, blocks: nn.ModuleList, calibration: Sequence[Encoded]) -> list[_Flow]:
    """Pass the rows through the model as it is, and note how each block is called."""
    calls: list[tuple[torch.Tensor, tuple[tuple[Any, ...], dict[str, Any]]]] = []

    def note(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        named = dict(named)
        states, *rest = args if args else (named.pop("hidden_states", None),)
        if not isinstance(states, torch.Tensor):
            raise ModelError("the blocks of this model are not given states first", where=type(blocks[0]).__name__)
        calls.append((states, (tuple(rest), named)))

    flows = []
    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    try:
        with evaluating(model):
            for batch in by_length([len(row.ids) for row in calibration]):
                ids, real = padded([calibration[i].ids for i in batch], 0, left=False,
                                   device=next(model.parameters()).device)
                calls.clear()
                model(input_ids=ids, attention_mask=real, use_cache=False)
                if len(calls) != len(blocks):
                    raise ModelError("the blocks of this model are not passed once each", where=type(model).__name__)
                flows.append(_Flow(real, calls[0][0], [beside for _, beside in calls]))
    finally:
        for hook in hooks:
            hook.remove()
    return flows


def _passed(block: nn.Module, flow: _Flow, place: int) -> torch.Tensor:
    """The states after a block."""
    args, named = flow.beside[place]
    made = block(flow.states, *args, **named)
    return made[0] if isinstance(made, tuple) else made
