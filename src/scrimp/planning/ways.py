"""What ways are said to cost, before one of them is gone."""

from __future__ import annotations

from scrimp.core.options import Options

__all__ = ["Estimate", "Way"]


class Estimate(Options):
    """A number with its 95 % interval, which is not known where too little was measured."""

    value: float
    low: float | None = None
    high: float | None = None


class Way(Options):
    """What one way would cost.

    Attributes:
        name: of the way.
        seconds: from the first to the last.
        disk: bytes that it leaves.
        basis: what was measured, in words.
    """

    name: str
    seconds: Estimate
    disk: int
    basis: str
