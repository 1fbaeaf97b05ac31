"""Two rows are looked at before anything is trained: each must have the loss that it has by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from scrimp.core.errors import GuardError
from scrimp.core.memory import is_out_of_memory
from scrimp.tuning.objectives import Objective, TorchBatch
from scrimp.tuning.reproducible import RandomState
from scrimp.tuning.stream import Stream

if TYPE_CHECKING:
    from scrimp.compute.decoder import Packed
    from scrimp.examples.templates import Encoded

__all__ = ["Beforehand", "check_apart", "check_loss", "disturbed", "estranged", "two_rows"]

_TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 1e-1}  # of a row's loss, by how it is computed
_EXACT = 1e-5  # of a row's loss, where nothing else is computed than before


@dataclass(frozen=True)
class Beforehand:
    """How a run computes the losses of a few rows before it trains.

    Attributes:
        model, objective, stream: of the run.
        path: the fast one; None on the usual path.
        dtype: that it computes in.
        tokens: padded ones that it computes at once.
    """

    model: nn.Module
    objective: Objective
    stream: Stream
    path: Packed | None
    dtype: torch.dtype
    tokens: int

    def check(self) -> int:
        """See that two rows have the losses that they should have; no weight and no random state is changed.

        Returns:
            The tokens that were passed, beside those of the data's own passes.

        Raises:
            GuardError: they have others.
        """
        pair = two_rows(self.stream.lengths, self.tokens)
        if pair is None or self.objective.joint:
            return 0
        random = RandomState.now()
        self.model.eval()
        try:
            with torch.no_grad():
                check_loss(self.total, self.plain, pair, tolerance=_TOLERANCE[self.dtype])
                for row, other in (pair, pair[::-1]) if self.objective.by_row else ():
                    self.check_apart(row, other)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise  # of two rows at once, which training may do with less: it makes its parts smaller
        finally:
            self.model.train()
            random.put_back()
        return 7 * self.stream.tokens(pair)

    def check_apart(self, row: int, other: int) -> None:
        """See that a row's loss is its own, beside another one that has other tokens, and beside other padding."""
        experts = any("expert" in name for name, _ in self.model.named_modules())  # each has the tokens that are for it
        for part, batch in self.batches([row, other]):
            if row in part and other in part:
                at, example = part.index(row), self.stream.example(row)
                check_apart(self.loss_at(batch, at), self.loss_otherwise(batch, at, example),
                            tolerance=_TOLERANCE[self.dtype] if experts else _EXACT)

    def loss_at(self, batch: TorchBatch, place: int) -> float:
        """The summed loss of the row at a place of a batch."""
        return float(self.objective.losses(self.model, batch).sums[place])

    def loss_otherwise(self, batch: TorchBatch, place: int, example: Encoded) -> float:
        """That of a row whose neighbours have other tokens; what is packed has no padding."""
        if self.path is None:
            return self.loss_at(replace(batch, input_ids=disturbed(batch, place, example)), place)
        with estranged(self.model.get_input_embeddings(), batch, example):  # type: ignore[operator]
            return self.loss_at(batch, place)

    def total(self, rows: Sequence[int]) -> float:
        """The summed loss of rows that are computed at once, as they are in training."""
        return sum(float(self.objective.loss(self.model, batch).total) for _, batch in self.batches(rows))

    def plain(self, row: int) -> float | None:
        """That of one row as the objective's textbook has it, on the usual path."""
        return next(self.objective.plain(self.model, batch) for _, batch in self.batches([row]))

    def batches(self, rows: Sequence[int]) -> Iterator[tuple[list[int], TorchBatch]]:
        """The rows as they are computed in training, and which of them each batch holds."""
        device = next(self.model.parameters()).device
        for part, batch in self.stream.batches(rows, self.tokens, self.path):
            with torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                yield part, TorchBatch.of(batch, device)


def two_rows(lengths: Sequence[int], most: int) -> tuple[int, int] | None:
    """The shortest row and a usual one, which pads it if there is such; None if there are no two of at most so much."""
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    usual = by_length[len(lengths) // 2:]
    pair = by_length[0], next((row for row in usual if lengths[row] > lengths[by_length[0]]), usual[0])
    return None if pair[0] == pair[1] or 2 * lengths[pair[1]] > most else pair


def check_loss(total: Callable[[Sequence[int]], float], plain: Callable[[int], float | None], pair: tuple[int, int], *,
               tolerance: float) -> None:
    """See that two rows have together the loss that they have alone, and that this is the one of the textbook.

    Args:
        total: the summed loss of some rows that are computed at once.
        plain: the same of one row, computed as simply as can be; None where the objective has no such form.
        pair: two rows, of different lengths if there are such.
        tolerance: how much of the loss may differ; of a small one, as much as of one nat.

    Raises:
        GuardError: the padding or the other row changes a row's loss, the loss is no sum, or it is not the plain one.
    """
    alone = [total([row]) for row in pair]
    together = total(pair)
    if not abs(together - sum(alone)) <= tolerance * max(abs(sum(alone)), 1.0):
        raise GuardError(f"two rows have a loss of {together:.5g} together and of {sum(alone):.5g} alone",
                         why="padding or other rows change a row's loss, or the loss is no sum over tokens or rows",
                         fix="this is a defect of the objective or the model; please report it")
    for row, ours in zip(pair, alone, strict=True):
        if (theirs := plain(row)) is not None and not abs(ours - theirs) <= tolerance * max(abs(theirs), 1.0):
            raise GuardError(f"the loss of a row is {ours:.5g}, and {theirs:.5g} when it is computed plainly",
                             why="other tokens are predicted or counted than those that are trained",
                             fix="this is a defect of the objective or the model; please report it")


def disturbed(batch: TorchBatch, place: int, example: Encoded) -> torch.Tensor:
    """The tokens of a batch, int64 [B, L], with others wherever the row at a place must not see them, padding included.

    Its own places follow from the example that it was made of, and not from the batch's mask, which may be wrong.
    """
    ids, own = batch.input_ids, torch.zeros_like(batch.input_ids, dtype=torch.bool)
    own[place, :len(example.ids)] = True
    if example.second is not None:
        own[batch.second == place, :len(example.second.ids)] = True
    one = ids[place, 0]
    others = ids[ids != one]
    return ids.where(own, torch.where(ids == one, others[0], one)) if len(others) else ids


@contextmanager
def estranged(embedding: nn.Module, batch: TorchBatch, example: Encoded) -> Iterator[None]:
    """Within the block the tokens of a batch that a row has not itself have other embeddings.

    The tokens stay, so that what is packed by them lies where it lay, and is rounded as it was.
    """
    own = [*example.ids, *(example.second.ids if example.second is not None else ())]
    every = batch.input_ids.unique()
    strange = every[~torch.isin(every, every.new_tensor(own))]

    def turned(module: nn.Module, given: tuple[torch.Tensor], found: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.isin(given[0], strange)[..., None], -found, found)

    hook = embedding.register_forward_hook(turned)
    try:
        yield
    finally:
        hook.remove()


def check_apart(beside: float, otherwise: float, *, tolerance: float) -> None:
    """See that a row's loss does not change with what is beside it: the tokens of other rows, and the padding's.

    This is sharper than comparing losses together and alone, since nothing is rounded otherwise where shapes stay as
    they are: in bfloat16, of whose losses some differ by a fiftieth together and alone, most of all.

    Args:
        beside: the loss of the row.
        otherwise: the same, where the others have other tokens.
        tolerance: how much of the loss may differ; of a small one, as much as of one nat.

    Raises:
        GuardError: it does.
    """
    if not abs(beside - otherwise) <= tolerance * max(abs(beside), 1.0):
        raise GuardError(f"the loss of a row is {beside:.7g}, and {otherwise:.7g} beside other tokens",
                         why="it sees the rows beside it, or the padding",
                         fix="this is a defect of the objective or the model; please report it")
