"""The stream of batches: the examples of each optimizer step, cut to fit memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scrimp.compute.forest import in_portions
from scrimp.examples import batching
from scrimp.tuning.sampling import Feed, Shuffled

if TYPE_CHECKING:
    from scrimp.compute.decoder import Packed
    from scrimp.examples.batching import Batch
    from scrimp.examples.templates import Encoded

__all__ = ["Stream"]


class Stream:
    """Examples as a feed deals them to steps.

    Args:
        data: encoded examples.
        batch_size: examples of one optimizer step.
        seed: of the order.
        pad_id: fills short rows.
        feed: decides which examples a step sees; if left out, all in a new deterministic order each epoch.
    """

    def __init__(self, data: Sequence[Encoded], *, batch_size: int, seed: int, pad_id: int,
                 feed: Feed | None = None) -> None:
        self._data, self._pad_id = data, pad_id
        self._plain = Shuffled(len(data), batch_size=batch_size, seed=seed)
        self.feed = feed or self._plain
        self.lengths = [example.padded for example in data]
        self.steps_per_epoch = self.feed.steps_per_epoch

    def indices(self, step: int) -> list[int]:
        """The examples of this step (from 0)."""
        return self.feed.indices(step)

    def expected(self, step: int) -> list[int]:
        """The examples of a step as far as can be told beforehand: where that is not at all, some by chance."""
        foreseen = self.feed.foreseen(step)
        return self._plain.indices(step) if foreseen is None else foreseen

    def rows(self, indices: Sequence[int]) -> list[int]:
        """The examples' numbers in the data that was read."""
        return [self._data[i].row for i in indices]

    def example(self, index: int) -> Encoded:
        """One of the examples."""
        return self._data[index]

    def tokens(self, indices: Sequence[int]) -> int:
        """The examples' tokens without padding."""
        return sum(self._data[i].tokens for i in indices)

    def batches(self, indices: Sequence[int], tokens: int,
                path: Packed | None = None) -> Iterator[tuple[list[int], Batch]]:
        """Micro-batches of examples, each of at most ``tokens`` padded tokens (or of one example), and which they hold.

        On the fast path nothing is padded, and what is shared counts once.
        """
        for part in self._parts(indices, tokens, path):
            yield part, batching.collate([self._data[i] for i in part], pad_id=self._pad_id)

    def portions(self, tokens: int, path: Packed) -> list[list[np.ndarray]]:
        """All rows, int64 [length], and what belongs to them, in the micro-batches of a plain first epoch."""
        parts = [part for step in range(self._plain.steps_per_epoch)
                 for part in self._parts(self._plain.indices(step), tokens, path)]
        return [[np.asarray(one.ids, dtype=np.int64) for i in part
                 for one in (self._data[i], self._data[i].second) if one] for part in parts]

    def _parts(self, indices: Sequence[int], tokens: int, path: Packed | None) -> list[list[int]]:
        if path is None:
            return batching.micro_batches(indices, self.lengths, tokens=tokens)
        rows = [np.asarray(self._data[i].ids) for i in indices]
        sizes = [self._data[i].together if path.shared else self._data[i].tokens for i in indices]
        return [[indices[n] for n in part] for part in in_portions(rows, sizes, tokens, shared=path.shared)]
