"""How far one is ahead of another, as the benchmarks tell it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lead"]


@dataclass(frozen=True, kw_only=True)
class Lead:
    """A mean difference over seeds, paired, with its interval."""

    ahead: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1 if it is ahead, -1 if it is behind, 0 if the interval holds zero."""
        return (self.low > 0) - (self.high < 0)
