"""What flows into linear layers: sums over tokens, kept while batches stream by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError, nearest
from scrimp.core.progress import bar
from scrimp.signals.passes import by_length, charge, evaluating, padded

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["InputStatistics", "Recorder", "activations", "recording"]


@dataclass
class InputStatistics:
    """Of the inputs of a linear layer, vectors of width D.

    Attributes:
        count: inputs seen.
        total, squares: float64 [D], their sum and the sum of their squares.
        gram: float64 [D, D], the sum of their outer products; None where it was not asked for.
    """

    count: int
    total: torch.Tensor
    squares: torch.Tensor
    gram: torch.Tensor | None = None

    @property
    def mean(self) -> torch.Tensor:
        """Float64 [D]."""
        return self.total / self.count

    @property
    def variance(self) -> torch.Tensor:
        """Float64 [D], never negative."""
        return (self.squares / self.count - self.mean.square()).clamp(min=0)

    @property
    def norm(self) -> torch.Tensor:
        """Float64 [D], the length of each feature over all inputs."""
        return self.squares.sqrt()

    def add(self, inputs: torch.Tensor) -> None:
        """More inputs, [N, D] of any float type."""
        inputs = inputs.float()
        self.count += len(inputs)
        self.total += inputs.sum(dim=0, dtype=torch.float64)
        self.squares += inputs.square().sum(dim=0, dtype=torch.float64)
        if self.gram is not None:
            self.gram += (inputs.T @ inputs).double()


@dataclass
class Recorder:
    """What was seen so far.

    Attributes:
        real: [B, L] of the batch that is passing, 1 where a row has a token; padding is not counted.
        found: by name of the layer; without those that nothing has passed yet.
    """

    gram: bool
    real: torch.Tensor | None = None
    found: dict[str, InputStatistics] = field(default_factory=dict)

    def see(self, name: str, inputs: torch.Tensor) -> None:
        """Count the inputs [B, L, D] of a layer.

        Raises:
            ModelError: if the layer does not see a vector for each token.
        """
        if self.real is None or inputs.shape[:-1] != self.real.shape:
            raise ModelError("the layer does not see one vector for each token", where=name,
                             why=f"its input is {list(inputs.shape)}", fix="leave this layer out")
        width = inputs.shape[-1]
        if name not in self.found:
            zeros = torch.zeros(width, dtype=torch.float64, device=inputs.device)
            gram = torch.zeros(width, width, dtype=torch.float64, device=inputs.device) if self.gram else None
            self.found[name] = InputStatistics(0, zeros, zeros.clone(), gram)
        self.found[name].add(inputs[self.real.bool()])


@contextmanager
def recording(layers: Mapping[str, nn.Module], *, gram: bool = False) -> Iterator[Recorder]:
    """Within the block what flows into ``layers`` is counted; set `Recorder.real` before each forward pass."""
    recorder = Recorder(gram)

    def hook(name: str) -> Any:
        return lambda _, given: recorder.see(name, given[0].detach())

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_pre_hook(hook(name)).remove)
        yield recorder


def activations(model: Any, encoded: Sequence[Encoded], layers: Sequence[str] | None = None, *, gram: bool = False,
                meter: Meter | None = None) -> dict[str, InputStatistics]:
    """Of each linear layer's inputs, in one forward pass over each row.

    Args:
        model: a language model.
        encoded: rows; all their tokens count.
        layers: names of modules; None for all linear layers.
        gram: whether outer products are summed too, which takes the square of a layer's width.
        meter: what is charged.

    Raises:
        ModelError: a name that is none, or a layer that does not see a vector for each token.
    """
    modules = dict(model.named_modules())
    names = layers or [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    if unknown := [name for name in names if name not in modules]:
        raise ModelError(f"there is no layer '{unknown[0]}'", fix=nearest(unknown[0], modules))
    with evaluating(model), recording({name: modules[name] for name in names}, gram=gram) as record, \
            bar("measuring activations", len(encoded)) as shown:
        for batch in by_length([len(row.ids) for row in encoded]):
            ids, record.real = padded([encoded[i].ids for i in batch], 0, left=False,
                                      device=next(model.parameters()).device)
            model(input_ids=ids, attention_mask=record.real, use_cache=False)
            charge(meter, model, int(record.real.sum()))
            shown.advance(len(batch))
    return record.found
