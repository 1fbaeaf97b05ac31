"""What passes over rows share: what a pass is, how it is run and kept, evaluation mode, batches, the bill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from scrimp.checkpoints.quantized import weights_in
from scrimp.core import interrupts
from scrimp.core.budget import Meter
from scrimp.core.progress import bar
from scrimp.core.workspace import Workspace, fingerprint
from scrimp.examples.batching import micro_batches
from scrimp.examples.sequences import Viewed
from scrimp.signals.answers import Answers

__all__ = ["MICRO_TOKENS", "Engine", "Found", "Pass", "by_length", "charge", "evaluating", "forward_of", "kept",
           "keys_of", "local", "padded", "positions_of", "rows_for_logits", "run"]

Row = TypeVar("Row")
MICRO_TOKENS = 2048  #: padded tokens of one forward pass
_LOGITS = 1 << 26  # elements of the largest [rows, positions, vocabulary] block: 256 MiB in float32


@dataclass(frozen=True)
class Found:
    """What a pass found of some rows: float32 [lines of all of them, W], and the work that it was."""

    values: np.ndarray
    tokens_forward: int
    tokens_backward: int = 0
    flops: float = 0.0


class Pass(ABC, Generic[Row]):
    """One look at each row, of which the answer depends on that row and on the pass alone.

    A pass can be sent to other processes, with its model.

    Attributes:
        kind: the signal, in one word.
        said: what is done, for the person who waits.
    """

    kind: ClassVar[str]
    said: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers of a line."""

    @abstractmethod
    def content(self, row: Row) -> Any:
        """What of a row decides the answer."""

    def lines(self, row: Row) -> int:
        """Lines of the answer."""
        return 1

    @abstractmethod
    def lengths(self, rows: Sequence[Row]) -> list[int]:
        """Tokens of each row; the rows are read one after the other."""

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Places of rows that are computed together."""
        return by_length(lengths)

    @abstractmethod
    def opened(self) -> AbstractContextManager[Callable[[Sequence[Row]], Found]]:
        """What computes the answers of a batch, within the block."""


#: gives of numbered batches what a pass finds of them, in any order
Engine = Callable[[Pass[Any], Sequence[Sequence[Any]]], Generator[tuple[int, Found]]]


def local(work: Pass[Any], batches: Sequence[Sequence[Any]]) -> Generator[tuple[int, Found]]:
    """In this process, one batch after the other."""
    if batches:
        with work.opened() as found_of:
            for number, rows in enumerate(batches):
                yield number, found_of(rows)


def run(work: Pass[Row], rows: Sequence[Row], *, meter: Meter | None = None, engine: Engine = local,
        answers: Answers | None = None) -> Answers:
    """The answers of a pass over ``rows``, those computed that ``answers`` lacks.

    Rows are asked for when their batch is due, so that they need not all be in memory.

    Raises:
        Stopped: a person asked to stop; what was found is kept.
    """
    if answers is None:
        answers = Answers.in_memory(map(work.lines, rows), work.width)
    open_ = [batch for batch in _planned(work, rows, answers.asked()) if not answers.has(batch)]
    found_of = engine(work, Viewed(open_, lambda batch: [rows[i] for i in batch]))
    with closing(found_of), bar(work.said, sum(map(len, open_))) as shown:
        for number, found in found_of:
            answers.put(open_[number], found.values)
            if meter is not None:
                meter.charge(tokens_forward=found.tokens_forward, tokens_backward=found.tokens_backward,
                             flops=found.flops)
            shown.advance(len(open_[number]))
            if interrupts.stop_requested():
                answers.flush()
                interrupts.stop_if_requested()
    answers.flush()
    return answers


def _planned(work: Pass[Row], rows: Sequence[Row], asked: np.ndarray) -> list[np.ndarray]:
    """The batches in which the rows ``asked`` for are computed."""
    lengths = work.lengths(Viewed(asked, lambda i: rows[i]))  # type: ignore[arg-type]  # numbers in an array
    return [asked[batch] for batch in work.batches(lengths)]


def keys_of(work: Pass[Row], rows: Sequence[Row]) -> np.ndarray:
    """Uint8 [N, 16], of what decides each row's answer."""
    told = bytearray()
    for row in rows:
        told += bytes.fromhex(fingerprint([work.content(row)])[:32])
    return np.frombuffer(told, dtype=np.uint8).reshape(-1, 16)


def kept(work: Pass[Row], question: Any, rows: Sequence[Row], workspace: Workspace, *, meter: Meter | None = None,
         engine: Engine = local) -> Answers:
    """The answers of a pass as the workspace has them, those computed that it lacks.

    A folder holds those to the same rows; rows of which another one knows the answer to the same question are taken
    from there.

    Args:
        work, rows, meter, engine: see `run`.
        question: what of the pass decides the answers, its model above all.
        workspace: where they are kept.
    """
    keys = keys_of(work, rows)
    kind = f"{work.kind}.{fingerprint(question)[:12]}"

    def make(folder: Path) -> None:
        answers = Answers.in_folder(folder, keys, map(work.lines, rows), work.width,
                                    sorted(workspace.root.glob(f"{kind}-*")))
        run(work, rows, meter=meter, engine=engine, answers=answers)

    return Answers.finished(workspace.step(kind, fingerprint([question, fingerprint(keys.tobytes())]), make))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off and no graph within the block; the training mode is put back after it.

    The output layer gets contiguous states: of a slice, such as the last position of each row, PyTorch would multiply a
    frozen weight row by row, with a copy of the whole weight for each (measured: 60 rows, 3.2 GB and 11 times slower).
    """
    was_training, head = model.training, _output_layer(model)
    packing = head.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:])) if head else None
    device = next(model.parameters()).device.type
    mixed = torch.autocast(device, dtype=torch.bfloat16, enabled=getattr(model, "needs_autocast", False),
                           cache_enabled=False)
    model.eval()
    try:
        with torch.inference_mode(), mixed:
            yield
    finally:
        model.train(was_training)
        if packing:
            packing.remove()


def _output_layer(model: nn.Module) -> nn.Module | None:
    """The layer that makes logits of states; None where there is none."""
    found = getattr(model, "get_output_embeddings", lambda: None)
    return found() if callable(found) else None


def by_length(lengths: Sequence[int], *, tokens: int = MICRO_TOKENS, rows: int | None = None) -> list[list[int]]:
    """Indices of rows in batches of similar length, the longest first, so that too large a batch fails at once.

    Args:
        lengths: tokens of each row.
        tokens: padded tokens a batch may hold; a single longer row is a batch of its own.
        rows: rows a batch may hold; None for no limit.
    """
    batches, most = micro_batches(range(len(lengths)), lengths, tokens=tokens), rows or len(lengths)
    return [batch[at: at + most] for batch in batches for at in range(0, len(batch), most)]


def padded(rows: Sequence[Sequence[int]], pad: int, *, left: bool,
           device: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and a mask of what is real, both [B, L] and int64, filled on the left or on the right."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    real = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        real[i, place] = 1
    return ids.to(device), real.to(device)


def positions_of(real: torch.Tensor) -> torch.Tensor:
    """Position of each token in its row, [B, L], whichever side is padded."""
    return (real.cumsum(dim=1) - 1).clamp(min=0)


def rows_for_logits(model: Any, positions: int) -> int:
    """Rows of which logits at so many positions each fit into a block of fixed size."""
    return max(1, _LOGITS // (positions * model.config.get_text_config().vocab_size))


def forward_of(model: nn.Module, tokens: int, values: np.ndarray) -> Found:
    """What a forward pass over ``tokens`` real tokens found."""
    return Found(values, tokens, flops=_forward_flops(model, tokens))


def charge(meter: Meter | None, model: nn.Module, tokens: int) -> None:
    """Put a forward pass over ``tokens`` real tokens on the bill."""
    if meter is not None:
        meter.charge(tokens_forward=tokens, flops=_forward_flops(model, tokens))


def _forward_flops(model: nn.Module, tokens: int) -> float:
    """About two operations a weight and token."""
    return 2.0 * weights_in(model.parameters()) * tokens
