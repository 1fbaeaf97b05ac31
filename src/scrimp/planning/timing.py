"""How long it will take: measured for a moment on the person's own rows, planned with, and told beside what it took.

What is measured is kept as a step of the run, so that a run that was killed continues with the plan that it had.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from scrimp.core.budget import Budget
from scrimp.core.errors import BudgetError
from scrimp.core.workspace import atomic_write
from scrimp.evaluation.outcome import Forecast
from scrimp.examples.records import Examples
from scrimp.planning.costs import Probe
from scrimp.planning.protocol import Protocol, choose

if TYPE_CHECKING:
    from scrimp.planning.ladder import Run
    from scrimp.planning.rungs import Rung, TunedRung

__all__ = ["ADAPTED_OVER_BASE", "CLOSING_S", "WHOLE", "Timing", "few_rows"]

WHOLE = "the whole run"

CLOSING_S = 10.0  # the check of what was saved, the report
ADAPTED_OVER_BASE = 1.5  # a model predicts that much slower under its adapter
_RETENTION_S = 15.0
_TEST_SHARE_OF_TIME = 0.12  # of the time budget, at most, for each model's predictions of the test rows
_LEAST_TEST_ROWS = 50
_TIMED_ROWS, _TIMED_AT_ONCE = 24, 6
_LEAST_TRAINING_S = 3.0
_CHEAP_RUNGS_S = 8.0


class Timing:
    """The time of one run: what its parts are expected to take, and what is left for each.

    Args:
        run: whose meter, rows and folder these are.
        ways: all rungs that are to be tried.

    Attributes:
        row_s: seconds in which the base model predicts one row; 0 if nothing asks it.
        foreseen: of the rungs by name, and of the whole run by `WHOLE`.
    """

    def __init__(self, run: Run, ways: Sequence[Rung]) -> None:
        self._run, self._ways = run, ways
        self._tuned_s = 0.0  # predicted, to train on one row as often as the plan wants
        self._tuned_memory: int | None = None
        self._after_s: float | None = None
        self.foreseen: Mapping[str, Forecast] = {}
        self.row_s = self._timed_row() if any(way.kind != "control" for way in ways) else 0.0

    @property
    def after_s(self) -> float:
        """Seconds to keep for what comes after the training of what is shipped."""
        return self._after_s if self._after_s is not None else self._tests * self.row_s + _RETENTION_S + CLOSING_S

    def saw_untouched(self, after_s: float, row_s: float | None) -> None:
        """What the untouched model took in earnest, which the first moments may have missed on a shared machine.

        Args:
            after_s: seconds of all that follows a training; under an adapter it is somewhat slower.
            row_s: seconds of a test row, if there were any.
        """
        self._after_s = ADAPTED_OVER_BASE * after_s + CLOSING_S
        self.row_s = self.row_s if row_s is None else row_s

    @property
    def _tests(self) -> int:
        return len(self._run.test) if self._run.test is not None else 0

    def _timed_row(self) -> float:
        def timed(folder: Path) -> None:
            from scrimp.planning.rungs import asked

            few, predictor = few_rows(self._run.train, _TIMED_ROWS, self._run.request.seed), asked(self._run.base)
            seconds = []
            for start in range(0, len(few), _TIMED_AT_ONCE):
                with self._run.meter.part() as part:
                    predictor.predict(few.rows[start:start + _TIMED_AT_ONCE], meter=part)
                seconds.append(part.bill().wall_s / len(few.rows[start:start + _TIMED_AT_ONCE]))
            atomic_write(folder / "seconds", str(median(seconds)))  # the first are slow, and others may be disturbed

        return float((self._run.space.step("row-time", {}, timed) / "seconds").read_text())

    def most_tests(self) -> float:
        """How many test rows the time allows the slowest model to predict."""
        if not self.row_s:
            return math.inf
        return max(_LEAST_TEST_ROWS, self._run.meter.remaining_s() * _TEST_SHARE_OF_TIME / self.row_s)

    def measure(self, tuned: TunedRung) -> None:
        """Train for a moment; makes the plan's micro-batches fit the declared memory.

        Raises:
            BudgetError: if the model at rest alone needs more memory than was declared.
        """
        run = self._run

        def probed(folder: Path) -> None:
            probe = tuned.probe(run.train, folder / "training", run.meter)
            run.ledger.write("probe", **probe.model_dump())
            atomic_write(folder / "probe.json", probe.model_dump_json())

        folder = run.space.step("probe", {"chosen": tuned.chosen}, probed)
        probe = Probe.parse(json.loads((folder / "probe.json").read_text()), where=str(folder))
        tuned.fit_memory(probe, run.request.budget)
        self._tuned_s = probe.seconds(tuned.tokens(run.train)) / len(run.train)
        self._tuned_memory = probe.peak_at(tuned.plan.options.micro_tokens)

    def protocol(self) -> Protocol:
        """The most thorough one that the time allows the dearest rung."""
        run = self._run

        def chosen(folder: Path) -> None:
            left = run.meter.remaining_s() - self.after_s - _CHEAP_RUNGS_S - self.row_s * len(run.train)
            found = choose(run.train, seconds=lambda rows: self._tuned_s * rows, left_s=left * 0.9, judge_s=self.row_s,
                           seed=run.request.seed)
            atomic_write(folder / "protocol.json", json.dumps(
                {"parts": found.parts, "refit": found.refit, "words": found.words}))

        said = json.loads((run.space.step("protocol", {}, chosen) / "protocol.json").read_text())
        parts = tuple((tuple(a), tuple(b)) for a, b in said["parts"])
        return Protocol(parts, refit=said["refit"], words=said["words"])

    def foresee(self, protocol: Protocol) -> None:
        """Predict what the rungs and the run will cost, so that it can be told beside what they did cost."""
        run = self._run

        def written(folder: Path) -> None:
            found = {name: forecast.model_dump() for name, forecast in self._forecasts(protocol).items()}
            run.ledger.write("foreseen", **found)
            atomic_write(folder / "foreseen.json", json.dumps(found))

        folder = run.space.step("foreseen", {}, written)
        self.foreseen = {name: Forecast.parse(forecast, where=str(folder))
                         for name, forecast in json.loads((folder / "foreseen.json").read_text()).items()}

    def _forecasts(self, protocol: Protocol) -> dict[str, Forecast]:
        """A training that does not fit is foreseen as the budget will cut it."""
        asking_s = self.row_s * (self._tests + len(protocol.judged)) + _RETENTION_S
        needed = {way.name: asking_s * (ADAPTED_OVER_BASE if way.kind == "adapted" else 1.0)
                  for way in self._ways if way.kind != "control"}
        adapted = next((way.name for way in self._ways if way.kind == "adapted"), None)
        rest = sum(needed.values()) + CLOSING_S + (_CHEAP_RUNGS_S if len(needed) < len(self._ways) else 0.0)
        training_s = self._tuned_s * sum(protocol.trainings(len(self._run.train)))
        training_s = max(0.0, min(training_s, self._run.meter.remaining_s() - rest))
        found = {name: Forecast(wall_s=seconds) for name, seconds in needed.items() if name != adapted}
        if adapted:
            found[adapted] = Forecast(wall_s=needed[adapted] + training_s, peak_memory=self._tuned_memory)
        whole_s = self._run.meter.elapsed_s() + rest + training_s
        return {**found, WHOLE: Forecast(wall_s=whole_s, peak_memory=self._tuned_memory)}

    def allowance(self, rows: Sequence[int], *, later_s: float) -> Budget:
        """Seconds and tokens for the next training of the adapted model: its share of what is left.

        Args:
            rows: rows of this and of all further trainings.
            later_s: seconds to keep for what is no training.

        Raises:
            BudgetError: if what is left is too short to begin.
        """
        meter, limit = self._run.meter, self._run.request.budget.tokens
        share = rows[0] / sum(rows)
        tokens = None if limit is None else max(1, int(share * (limit - meter.bill().tokens_backward)))
        if math.isinf(meter.remaining_s()):
            return Budget(tokens=tokens)
        left = meter.remaining_s() - later_s
        if share * left < _LEAST_TRAINING_S:
            raise BudgetError(f"{max(left, 0):.0f} s are left for training, too few to begin",
                              fix="declare a longer --budget")
        return Budget(time=share * left, tokens=tokens)


def few_rows(examples: Examples, most: int, seed: int) -> Examples:
    """At most ``most`` rows, drawn by ``seed``, in their own order."""
    if len(examples) <= most:
        return examples
    return examples.subset(sorted(random.Random(seed).sample(range(len(examples)), most)))
