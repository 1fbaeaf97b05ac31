"""How fast a run is, and how many steps fit in the time that is left."""

from __future__ import annotations

import math

from pydantic import BaseModel

__all__ = ["Pace"]

_WINDOW = 20
_MARGIN = 1.05  # steps differ in length


class Pace(BaseModel):
    """Seconds of the last steps, how many of them were for what is done once, and of a validation and a checkpoint."""

    count: int = 0
    steps: list[float] = []
    once: list[float] = []
    validation_s: float = 0.0
    saving_s: float = 0.0

    def record(self, seconds: float, once: float = 0.0) -> None:
        """One more step was timed. The first, which warms up caches, counts only until there is a second.

        Args:
            seconds: of the step.
            once: how many of them were for what later steps will find done.
        """
        if self.count == 1:
            self.steps, self.once = [], []
        self.steps, self.once = [*self.steps, seconds][-_WINDOW:], [*self.once, once][-_WINDOW:]
        self.count += 1

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

    def fitting(self, seconds: float, *, validate_every: int, save_every_s: float, once_s: float = 0.0) -> int:
        """Steps that fit in ``seconds`` together with their validations and checkpoints and the closing ones.

        ``once_s`` is what will still be done once: steps take longer until it is done, and no longer afterwards.
        """
        def fit(step: float, within: float) -> int:
            each = (step * (1 + self.saving_s / save_every_s) + self.validation_s / validate_every) * _MARGIN
            return max(math.floor((within - self.closing_s()) / each), 0)

        whole, once, count = sum(self.steps), sum(self.once), len(self.steps)
        return max(fit(whole / count, seconds), fit((whole - once) / count, seconds - once_s * _MARGIN))
