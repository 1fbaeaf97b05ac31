"""How fast a run is, and how many steps fit in the time that is left."""

from __future__ import annotations

import math

from pydantic import BaseModel

__all__ = ["Pace"]

_WINDOW = 20
_MARGIN = 1.05  # steps differ in length


class Pace(BaseModel):
    """Seconds of the last steps, and of a validation and a checkpoint."""

    count: int = 0
    steps: list[float] = []
    validation_s: float = 0.0
    saving_s: float = 0.0

    def record(self, seconds: float) -> None:
        """One more step was timed. The first, which warms up caches, counts only until there is a second."""
        before = self.steps if self.count != 1 else []
        self.steps, self.count = [*before, seconds][-_WINDOW:], self.count + 1

    @property
    def known(self) -> bool:
        """Whether enough steps were timed to foresee the rest."""
        return self.count > 3

    def next_s(self) -> float:
        """Seconds that one more step may take, with the closing validation and checkpoint after it."""
        return max(self.steps, default=0.0) + self.closing_s()

    def closing_s(self) -> float:
        """Seconds of the closing validation and checkpoint."""
        return self.validation_s + self.saving_s

    def fitting(self, seconds: float, *, validate_every: int, save_every_s: float) -> int:
        """Steps that fit in ``seconds`` together with their validations and checkpoints and the closing ones."""
        step = sum(self.steps) / len(self.steps) * (1 + self.saving_s / save_every_s)
        each = (step + self.validation_s / validate_every) * _MARGIN
        return max(math.floor((seconds - self.closing_s()) / each), 0)
