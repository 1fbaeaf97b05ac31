"""The trainings that one rung needs, and what it says of the rows that it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.planning.protocol import Protocol
from scrimp.planning.timing import ADAPTED_OVER_BASE, CLOSING_S

if TYPE_CHECKING:
    from scrimp.planning.ladder import Run
    from scrimp.planning.rungs import Rung as Way
    from scrimp.serving.predictors import Prediction, Predictor

__all__ = ["Trainings"]


class Trainings:
    """The trainings of one rung in turn: first of what is shipped, then of each part of the protocol."""

    def __init__(self, run: Run, way: Way, protocol: Protocol, folder: Path, meter: Meter) -> None:
        self._run, self._way, self._protocol, self._folder, self._meter = run, way, protocol, folder, meter
        self._left = protocol.trainings(len(run.train))
        self._shipped: Predictor | None = None
        self.warnings: list[str] = []

    def shipped(self) -> Predictor:
        """Fitted on all rows, or on those of the one part where nothing is fitted again."""
        rows = range(len(self._run.train)) if self._protocol.refit else self._protocol.parts[0][0]
        self._shipped = self._fit(rows, "shipped", self._run.timing.after_s + self._judging_s())
        return self._shipped

    def judged(self) -> list[Prediction]:
        """Predictions of the judged rows, in the protocol's order; none if the time does not suffice for all."""
        said: list[Prediction] = []
        try:
            for number, (learn, judge) in enumerate(self._protocol.parts):
                if judge:
                    predictor = self._shipped if not self._protocol.refit else None
                    predictor = predictor or self._fit(learn, f"part-{number}", CLOSING_S + self._judging_s())
                    said += predictor.predict(self._run.train.subset(judge).rows, meter=self._meter)
        except BudgetError as error:
            self.warnings.append(f"{self._way.title} could not be judged and was not chosen: {error.what}")
            return []
        return said

    def _fit(self, rows: Sequence[int], name: str, later_s: float) -> Predictor:
        adapts = self._way.kind == "adapted"
        budget = self._run.timing.allowance(self._left, later_s=later_s) if adapts else Budget()
        self._left.pop(0)
        with self._meter.part(budget) as timed:
            return self._way.fit(self._run.train.subset(rows), self._folder / name, timed)

    def _judging_s(self) -> float:
        return ADAPTED_OVER_BASE * self._run.timing.row_s * len(self._protocol.judged)
