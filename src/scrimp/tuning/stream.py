"""The stream of batches: which examples each optimizer step sees, as a pure function of the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scrimp.compute.forest import in_portions
from scrimp.examples import batching

if TYPE_CHECKING:
    from scrimp.compute.decoder import Packed
    from scrimp.examples.batching import Batch
    from scrimp.examples.templates import Encoded

__all__ = ["Stream"]


class Stream:
    """Examples in a new deterministic order each epoch.

    Args:
        data: encoded examples.
        batch_size: examples of one optimizer step.
        seed: of the order.
        pad_id: fills short rows.
    """

    def __init__(self, data: Sequence[Encoded], *, batch_size: int, seed: int, pad_id: int) -> None:
        self._data, self._batch_size, self._seed, self._pad_id = data, batch_size, seed, pad_id
        self.lengths = [example.padded for example in data]
        self._epoch = -1
        self._steps: list[list[int]] = []
        self._enter(0)
        self.steps_per_epoch = len(self._steps)

    def indices(self, step: int) -> list[int]:
        """The examples of this step (from 0)."""
        epoch, within = divmod(step, self.steps_per_epoch)
        self._enter(epoch)
        return self._steps[within]

    def rows(self, step: int) -> list[int]:
        """The numbers, in the data that was read, of the step's examples."""
        return [self._data[i].row for i in self.indices(step)]

    def tokens(self, step: int) -> int:
        """The step's tokens without padding."""
        return sum(self._data[i].tokens for i in self.indices(step))

    def batches(self, step: int, tokens: int, path: Packed | None = None) -> Iterator[Batch]:
        """The step's micro-batches, each of at most ``tokens`` padded tokens (or of one example).

        On the fast path nothing is padded, and what is shared counts once.
        """
        for part in self._parts(self.indices(step), tokens, path):
            yield batching.collate([self._data[i] for i in part], pad_id=self._pad_id)

    def portions(self, tokens: int, path: Packed) -> list[list[np.ndarray]]:
        """All rows, int64 [length], and what belongs to them, in the micro-batches of the first epoch."""
        parts = [part for step in range(self.steps_per_epoch) for part in self._parts(self.indices(step), tokens, path)]
        return [[np.asarray(one.ids, dtype=np.int64) for i in part
                 for one in (self._data[i], self._data[i].second) if one] for part in parts]

    def _parts(self, indices: list[int], tokens: int, path: Packed | None) -> list[list[int]]:
        if path is None:
            return batching.micro_batches(indices, self.lengths, tokens=tokens)
        rows = [np.asarray(self._data[i].ids) for i in indices]
        sizes = [self._data[i].together if path.shared else self._data[i].tokens for i in indices]
        return [[indices[n] for n in part] for part in in_portions(rows, sizes, tokens, shared=path.shared)]

    def _enter(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._steps = batching.steps(self.lengths, batch_size=self._batch_size, seed=self._seed, epoch=epoch)
            self._epoch = epoch
