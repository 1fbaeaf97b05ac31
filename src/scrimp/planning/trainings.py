"""The trainings that one rung needs, and what it says of the rows that it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.core.listeners import within
from scrimp.planning.protocol import Protocol
from scrimp.planning.timing import kept

if TYPE_CHECKING:
    from scrimp.planning.ladder import Run
    from scrimp.planning.rungs import Rung as Way
    from scrimp.serving.predictors import Prediction, Predictor

__all__ = ["Trainings"]


class Trainings:
    """The trainings of one rung in turn: first of what is shipped, then of each part of the protocol.

    Args:
        folder: unfinished trainings, and what finished ones said, are kept in it.
    """

    def __init__(self, run: Run, way: Way, protocol: Protocol, folder: Path, meter: Meter) -> None:
        self._run, self._way, self._protocol, self._folder, self._meter = run, way, protocol, folder, meter
        self._planned = protocol.trainings(len(run.train))
        self._shipped: Predictor | None = None
        self.warnings: list[str] = []

    def shipped(self) -> Predictor:
        """Fitted on all rows, or on those of the one part where nothing is fitted again."""
        rows = range(len(self._run.train)) if self._protocol.refit else self._protocol.parts[0][0]
        self._shipped = self._fit(rows, 0, "shipped")
        return self._shipped

    def judged(self) -> list[Prediction]:
        """Predictions of the judged rows, in the order in which they stand; none if there is no time for all."""
        said: dict[int, Prediction] = {}
        try:
            for number, (learn, judge) in enumerate(self._protocol.parts):
                if judge:
                    part = kept(self._folder / f"part-{number}.json", partial(self._said, number, learn, judge))
                    said |= zip(judge, part, strict=True)
        except BudgetError as error:
            self.warnings.append(f"{self._way.title} could not be judged and was not chosen: {error.what}")
            return []
        return [said[row] for row in sorted(said)]

    def _said(self, number: int, learn: Sequence[int], judge: Sequence[int]) -> list[Prediction]:
        if self._protocol.refit:
            predictor = self._fit(learn, number + 1, f"part-{number}")
        else:
            predictor = self._shipped or self.shipped()  # trained by an earlier attempt, it is only put back
        return predictor.predict(self._run.train.subset(judge).rows, meter=self._meter)

    def _fit(self, rows: Sequence[int], place: int, name: str) -> Predictor:
        budget = Budget()
        if self._way.kind == "adapted":
            budget = self._run.timing.allowance(self._way, self._planned[place:], protocol=self._protocol)
        with within(f"{self._way.name}/{name}"), self._meter.part(budget) as timed:
            return self._way.fit(self._run.train.subset(rows), self._folder / name, timed)
