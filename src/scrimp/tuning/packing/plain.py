"""Rows as they are, one after another in any order, or each in parts of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.tuning.packing.base import Packing, blocks, refuse_parts

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Apart", "Concatenated", "Decomposed"]


class Apart(Packing):
    """Every row is a sequence of its own."""

    def pack(self, rows: Sequence[Encoded], *, seed: int) -> list[Encoded]:
        return list(rows)


class Concatenated(Packing):
    """Rows one after another in a random order, cut into sequences of one length, as is usual in pretraining.

    Tokens see what stands before their row in its sequence.

    Attributes:
        pack_tokens: of a sequence.
    """

    pack_tokens: int = Field(default=512, ge=2)

    def pack(self, rows: Sequence[Encoded], *, seed: int) -> list[Encoded]:
        refuse_parts(rows, self.name)
        return blocks([rows[i] for i in np.random.default_rng(seed).permutation(len(rows))], self.pack_tokens)


class Decomposed(Packing):
    """Each row in parts whose lengths are powers of two, the longest first, so that no sequence holds two rows.

    A row of 100 tokens gives parts of 64 and 32; what is shorter than the shortest part is left out, but for a row that
    is shorter as a whole. Nothing of a step is padded where its sequences come from one length (sampling
    ``length-curriculum``). Pouransari et al. 2024, "Dataset Decomposition: Faster LLM Training with Variable Sequence
    Length Curriculum".

    Attributes:
        shortest_part: of a row; a power of two, else the next lower one.
        longest_part: of a row, likewise.
    """

    shortest_part: int = Field(default=16, ge=2)
    longest_part: int = Field(default=4096, ge=2)

    def pack(self, rows: Sequence[Encoded], *, seed: int) -> list[Encoded]:
        refuse_parts(rows, self.name)
        return [replace(row, ids=row.ids[at:end], trained=row.trained[at:end])
                for row in rows for at, end in self._spans(len(row.ids))]

    def _spans(self, length: int) -> Iterator[tuple[int, int]]:
        at, part = 0, _power(self.longest_part)
        if length < _power(self.shortest_part):
            yield 0, length
        while part >= _power(self.shortest_part):
            if at + part <= length:
                yield at, at + part
                at += part
            else:
                part //= 2


def _power(number: int) -> int:
    """The highest power of two that is no higher."""
    return 1 << (number.bit_length() - 1)


preset("none", Apart)
preset("concatenated", Concatenated)
preset("decomposed", Decomposed, papers=(72,))
