"""Rows that should not be learned from: those that repeat (`deduplicate`), and those of a test (`decontaminate`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from scrimp.core.budget import Bill, Meter
from scrimp.core.options import Options
from scrimp.core.progress import warn
from scrimp.examples.records import Examples
from scrimp.recipes.fields import Source
from scrimp.verbs.rows import Rewriting

__all__ = ["Sifted", "Decontaminate", "Deduplicate", "LeftOut"]

Similarity = Annotated[float | None, BeforeValidator(lambda given: None if given in ("none", "None") else given)]


class LeftOut(Options):
    """A row that was left out, and the one that it is like.

    Attributes:
        source, like: where they stand, such as ``train.jsonl:3``.
        exact: whether they ask the same to the letter, but for case, width and spacing.
    """

    source: str
    like: str
    exact: bool


class Sifted(Options):
    """What was kept of how many rows, where it is, what was left out, and what that cost."""

    out: Path
    kept: int
    of: int
    left_out: tuple[LeftOut, ...]
    bill: Bill


class _Sifting(Rewriting):
    must_answer = False

    near: Similarity = Field(0.8, description=(
        "Least similarity of near duplicates, from 0.6 to 1: the share of runs of five characters that two rows have "
        "in common. 'none' looks for exact ones only."))

    def _without(self, rows: Examples, dropped: dict[int, LeftOut], meter: Meter) -> Sifted:
        kept = rows.subset(i for i in range(len(rows)) if i not in dropped)
        self._write(kept)
        return Sifted(out=self.out, kept=len(kept), of=len(rows), bill=meter.close(),
                       left_out=tuple(dropped[i] for i in sorted(dropped)))


class Deduplicate(_Sifting):
    """Keep of rows that ask the same, exactly or nearly, the first.

    Compared is what a row asks (its text or prompt, a chat's turns before the last answer), not what it answers.
    """

    examples = ("scrimp deduplicate pool.csv --out once.csv",
                "scrimp deduplicate pool.jsonl --near none --out once.jsonl")

    def do(self) -> Sifted:
        from scrimp.examples import leakage
        from scrimp.examples.writing import check

        check(self.out)
        meter, rows = Meter(), self._read(self.data)
        if conflicts := leakage.conflicts(rows):
            warn(f"{len(conflicts)} texts stand with several labels, such as "
                 f"{', '.join(rows.sources[i] for i in conflicts[0].rows[:5])}; the first label of each is kept")
        return self._without(rows, dict(_repeats(rows, self.near)), meter)


class Decontaminate(_Sifting):
    """Leave the rows out that a test holds too, exactly or nearly, so that it stays a test."""

    examples = ("scrimp decontaminate train.jsonl --test test.jsonl --out clean.jsonl",)

    test: Source = Field(description="The test's rows, in any form that the data may have.")

    def do(self) -> Sifted:
        from scrimp.examples import leakage
        from scrimp.examples.writing import check

        check(self.out)
        meter, rows, test = Meter(), self._read(self.data), self._read(self.test)
        found = leakage.find(rows, test, threshold=self.near)
        dropped = {i: LeftOut(source=rows.sources[i], like=test.sources[j], exact=False) for i, j, _ in found.near}
        dropped |= {i: LeftOut(source=rows.sources[i], like=test.sources[j], exact=True) for i, j in found.exact}
        return self._without(rows, dropped, meter)


def _repeats(rows: Examples, near: float | None) -> Iterator[tuple[int, LeftOut]]:
    """Each row that repeats an earlier one, with that one."""
    from scrimp.examples import leakage

    exact = {row: first for first, *again in leakage.duplicates(rows) for row in again}
    for first, *again in leakage.duplicates(rows, threshold=near):
        for row in again:
            like = rows.sources[exact.get(row, first)]
            yield row, LeftOut(source=rows.sources[row], like=like, exact=row in exact)
