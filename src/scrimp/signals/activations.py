"""What flows into linear layers: sums over tokens, taken while batches stream by."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from scrimp.core import interrupts
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError, nearest
from scrimp.core.progress import bar
from scrimp.core.workspace import atomic_write, fingerprint
from scrimp.signals.passes import by_length, charge, evaluating, padded

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["InputStatistics", "Recorder", "activations", "packed", "recording", "unpacked"]

_KEEP_S = 10.0  # seconds between two times that sums are kept, at least
_KEEP_SHARE = 20.0  # and so many times what keeping them took: products of wide layers are gigabytes


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
                meter: Meter | None = None, kept: Path | None = None) -> dict[str, InputStatistics]:
    """Of each linear layer's inputs, in one forward pass over each row.

    Args:
        model: a language model.
        encoded: rows; all their tokens count. They are read in batches of so many tokens.
        layers: names of modules; None for all linear layers.
        gram: whether outer products are summed too, which takes the square of a layer's width.
        meter: what is charged.
        kept: a file for the sums so far, of this model, rows, layers and gram alone: after a kill the same call goes
            on from it, and ends with the same bits. The caller deletes it.

    Raises:
        ModelError: a name that is none, or a layer that does not see a vector for each token.
        Stopped: a person asked to stop; what was summed is kept.
    """
    modules = dict(model.named_modules())
    names = layers or [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    if unknown := [name for name in names if name not in modules]:
        raise ModelError(f"there is no layer '{unknown[0]}'", fix=nearest(unknown[0], modules))
    batches, device = by_length([len(row.ids) for row in encoded]), next(model.parameters()).device
    with evaluating(model), recording({name: modules[name] for name in names}, gram=gram) as record, \
            bar("measuring activations", len(encoded)) as shown:
        sums = _Sums(kept, batches, record)
        begin = sums.restored(device)
        shown.advance(sum(map(len, batches[:begin])))
        for done, batch in enumerate(batches[begin:], begin + 1):
            ids, record.real = padded([encoded[i].ids for i in batch], 0, left=False, device=device)
            model(input_ids=ids, attention_mask=record.real, use_cache=False)
            charge(meter, model, int(record.real.sum()))
            shown.advance(len(batch))
            stop = interrupts.stop_requested()
            if stop or sums.due():
                sums.keep(done)
            if stop:
                interrupts.stop_if_requested()
    return record.found


class _Sums:
    """The sums of a pass in a file, with the number of batches that are in them; no file keeps nothing."""

    def __init__(self, path: Path | None, batches: Sequence[Sequence[int]], record: Recorder) -> None:
        self._path, self._plan, self._record = path, fingerprint(batches), record
        self._at, self._took = time.monotonic(), 0.0

    def restored(self, device: torch.device) -> int:
        """How many batches an earlier attempt has summed; what it has is put into the record."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            with safe_open(self._path, "pt") as file:
                told = file.metadata() or {}
                if told.get("plan") != self._plan:
                    return 0
                held = {key: file.get_tensor(key).to(device) for key in file.keys()}  # noqa: SIM118
            self._record.found = unpacked(held)
            return int(told["done"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return 0  # a damaged file costs what was summed

    def due(self) -> bool:
        """Whether so much was summed since the last time that keeping it costs little."""
        return time.monotonic() - self._at > max(_KEEP_S, _KEEP_SHARE * self._took)

    def keep(self, done: int) -> None:
        if self._path is not None:
            began = time.monotonic()
            told = {"plan": self._plan, "done": str(done)}
            atomic_write(self._path, save(packed(self._record.found), told))
            self._took = time.monotonic() - began
        self._at = time.monotonic()


def packed(found: Mapping[str, InputStatistics]) -> dict[str, torch.Tensor]:
    """Statistics as tensors that a file can hold."""
    return {f"{part}:{name}": torch.as_tensor(value).cpu().contiguous() for name, one in found.items()
            for part, value in vars(one).items() if value is not None}


def unpacked(held: Mapping[str, torch.Tensor]) -> dict[str, InputStatistics]:
    """The opposite of `packed`."""
    names = [key.partition(":")[2] for key in held if key.startswith("count:")]
    return {name: InputStatistics(int(held[f"count:{name}"]), held[f"total:{name}"], held[f"squares:{name}"],
                                  held.get(f"gram:{name}")) for name in names}
