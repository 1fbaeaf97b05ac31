"""Rows in batches: which are in each optimizer step, how a step is cut to fit memory, and how rows become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrimp.core.errors import OptionError

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Batch", "collate", "micro_batches", "steps"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows as arrays, padded at the right.

    Attributes:
        input_ids: int64 [B, L].
        attention_mask: int64 [B, L], 1 where a row has a token; by length, for the pad token may be the end token.
        trained: bool [B, L].
        targets: int64 [B], class number or -1.
        rows: int64 [B], number of each row in what was encoded.
        second: int64 [B], for what belongs to a row (a rejected answer, a rationale) the place of that row in the
            batch, else -1. The rows stand first, then what belongs to them.
        reference: float32 [B], log-probability of the answer under the model that training began with, NaN where it was
            not measured.
        wanted: float64 [B, K], what a head is to say of each row, NaN where nothing is wanted; K is 0 where of none is.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    trained: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    second: np.ndarray
    reference: np.ndarray
    wanted: np.ndarray

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return int(self.attention_mask.sum())


def steps(lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each optimizer step of an epoch: every row once, in an order that seed and epoch decide.

    Args:
        lengths: of all rows; only how many there are matters.
        batch_size: rows of a step; the last one may have fewer.
        seed, epoch: from 0.
    """
    if batch_size < 1:
        raise OptionError(f"a step has at least one row, not {batch_size}", where="batch_size")
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
    return [order[at:at + batch_size] for at in range(0, len(order), batch_size)]


def micro_batches(indices: Sequence[int], lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """The rows of a step in batches whose padded size is at most ``tokens``; a row longer than that stands alone.

    ``lengths`` are those of single rows; what a row takes up with what belongs to it is its `Encoded.padded`.

    Rows of like length come together, the longest first: little is padded, and the first batch needs most memory.
    """
    batches: list[list[int]] = []
    for index in sorted(indices, key=lambda i: (-lengths[i], i)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def collate(encoded: Sequence[Encoded], *, pad_id: int) -> Batch:
    """Encoded rows, and what belongs to them, as one batch; at least one row."""
    firsts, measured = list(encoded), [one.reference or (np.nan, np.nan) for one in encoded]
    pairs = [(place, one.second) for place, one in enumerate(firsts) if one.second]
    encoded = [*firsts, *(second for _, second in pairs)]
    lengths = np.array([len(one.ids) for one in encoded])
    real = np.arange(lengths.max())[None, :] < lengths[:, None]
    ids, trained = np.full(real.shape, pad_id, dtype=np.int64), np.zeros(real.shape, dtype=bool)
    ids[real] = np.concatenate([np.asarray(one.ids, dtype=np.int64) for one in encoded])
    trained[real] = np.concatenate([np.asarray(one.trained, dtype=bool) for one in encoded])
    return Batch(ids, real.astype(np.int64), trained,
                 np.array([-1 if one.target is None else one.target for one in encoded], dtype=np.int64),
                 np.array([one.row for one in encoded], dtype=np.int64),
                 np.array([-1] * len(firsts) + [place for place, _ in pairs], dtype=np.int64),
                 np.array([a for a, _ in measured] + [measured[place][1] for place, _ in pairs], dtype=np.float32),
                 _wanted(encoded))


def _wanted(encoded: Sequence[Encoded]) -> np.ndarray:
    wide = max(len(one.wanted or ()) for one in encoded)
    return np.array([one.wanted or (np.nan,) * wide for one in encoded], dtype=np.float64).reshape(len(encoded), wide)
