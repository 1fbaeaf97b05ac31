"""The family of packings: how rows come into the sequences that a model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import ClassVar

from scrimp.core.errors import DataError
from scrimp.core.registry import Method
from scrimp.examples.templates import Encoded

__all__ = ["Packing", "blocks", "refuse_parts"]


class Packing(Method):
    """Makes sequences of rows, before training and without a model."""

    family: ClassVar[str] = "packing"
    verb: ClassVar[str] = "pack"

    def pack(self, rows: Sequence[Encoded], *, seed: int) -> list[Encoded]:
        """Sequences of the rows' tokens, with the mask of what is learned; at least one if there is a row.

        Args:
            rows: encoded, begin and end tokens included.
            seed: of every random choice.

        Raises:
            DataError: rows whose class or second answer could not stay with them.
        """
        raise NotImplementedError


def refuse_parts(rows: Sequence[Encoded], by: str) -> None:
    """Raises: DataError: a row has a class, a score or a second sequence, which a part of it would not have."""
    if bound := [row.row for row in rows if (row.target, row.second, row.wanted) != (None, None, None)]:
        raise DataError(f"{len(bound)} of {len(rows)} rows have a class, a score or a second answer, which packing "
                        "would lose", where=f"row {bound[0] + 1}, packing: {by}", fix="packing: none")


def blocks(rows: Sequence[Encoded], length: int) -> list[Encoded]:
    """Rows one after another, cut into blocks of ``length`` tokens; the last has what is left."""
    ids, trained = list(chain.from_iterable(r.ids for r in rows)), list(chain.from_iterable(r.trained for r in rows))
    owners = [row.row for row in rows for _ in row.ids]
    return [Encoded(ids[at:at + length], trained[at:at + length], row=owners[at]) for at in range(0, len(ids), length)]
