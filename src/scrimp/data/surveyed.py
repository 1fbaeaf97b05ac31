"""What a selection did to its pool, in numbers; without the numerics that find them, so that verbs start fast."""

from __future__ import annotations

from scrimp.core.options import Options

__all__ = ["Coverage", "Group", "Lengths", "Repeats"]


class Group(Options):
    """Rows with something in common, how many there are, and how many of them were kept."""

    name: str
    pool: int
    kept: int


class Repeats(Options):
    """Rows that repeat an earlier one.

    Attributes:
        rows: that were looked through.
        exact: that ask the same, but for case, width and spacing.
        near: that share four fifths of their runs of five characters with another one, those that are exact left out.
        near_rows: that were looked through for these: a choice by chance of a large pool.
    """

    rows: int
    exact: int
    near: int
    near_rows: int


class Lengths(Options):
    """The median number of characters of kept and of dropped rows; None where there are none of these."""

    kept: float | None
    dropped: float | None


class Coverage(Options):
    """How much of the pool has a kept row near by, beside a choice by chance of as many rows.

    Attributes:
        by: what distance is measured by.
        radius: within which half of the pool has a row of a choice by chance.
        kept: the share of the pool that has a kept row within it.
        chance_low, chance_high: the least and the most of several choices by chance.
        rows: that were looked at, drawn by chance where the pool is large.
        through: kept rows that were looked through for each, drawn by chance where more were kept.
    """

    by: str
    radius: float
    kept: float
    chance_low: float
    chance_high: float
    rows: int
    through: int
