"""How long it will take: measured for a moment on the person's own rows, planned with, and told beside what it took.

What is measured is kept as a step of the run, so that a run that was killed continues with the plan that it had.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NoReturn

from scrimp.core.budget import Bill, Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.core.workspace import atomic_write
from scrimp.evaluation.outcome import Forecast
from scrimp.examples.records import Examples
from scrimp.planning.costs import Probe, leaner
from scrimp.planning.protocol import Protocol, choose

if TYPE_CHECKING:
    from scrimp.planning.ladder import Run
    from scrimp.planning.rungs import Base, Rung, TunedRung

__all__ = ["WHOLE", "Pace", "Timing", "few_rows", "kept"]

WHOLE = "the whole run"

_CLOSING_S, _CHECKED_ROWS = 10.0, 8  # the report; rows on which what was saved is compared
_ADAPTED_OVER_BASE = 1.5  # a model predicts that much slower under its adapter
_RETENTION_S = {"causal": 15.0, "encoder": 4.0}
_TEST_SHARE_OF_TIME = 0.12  # of the time budget, at most, for each model's predictions of the test rows
_LEAST_TEST_ROWS = 50
_TIMED_ROWS = (0, 1, 3, 7, 15, 24)  # where portions begin and end: on a slow machine the first ones must do
_TIMED_SHARE_OF_TIME, _PROBED_SHARE_OF_TIME = 0.03, 0.06  # at most, but for a first portion
_TRAINED_OVER_ASKED = 3.0  # a row is trained on that much slower than it is predicted
_LEAST_TRAINING_S, _LEAST_STEPS = 3.0, 4
_DOUBT = 1.5  # what is foreseen to take that many times what is left is not begun
_CHEAP_RUNGS_S = 8.0
_FEW_ROWS = 300  # of which too few would be held out: a dear way is sooner left out than they are not folded
_CHEAP_RUNGS_MEMORY, _SHAPES_MEMORY = 80 << 20, 60 << 20  # bytes that stay, of libraries and of products of all lengths


@dataclass(frozen=True)
class Pace:
    """What a moment of training showed of one way.

    Attributes:
        row_s: seconds to train on one row as often as the plan wants; 0 where there was no time to measure it.
        least_s: seconds without which a training is not begun.
        memory: bytes that the run is expected to hold at once while it lasts.
    """

    row_s: float = 0.0
    least_s: float = _LEAST_TRAINING_S
    memory: int | None = None


class Timing:
    """The time of one run: what its parts are expected to take, and what is left for each.

    Args:
        run: whose meter, rows and folder these are.
        ways: all rungs that are to be tried.

    Attributes:
        foreseen: of the rungs by name, and of the whole run by `WHOLE`.
    """

    def __init__(self, run: Run, ways: Sequence[Rung]) -> None:
        self._run, self._ways = run, ways
        self._paces: dict[str, Pace] = {}
        self._left_out: Mapping[str, str] = {}
        self.foreseen: Mapping[str, Forecast] = {}
        bases = {way.base.checkpoint.fingerprint: way.base for way in ways if way.kind != "control" and way.base}
        self._row_s: dict[str, float] = {
            name: kept(run.folder / f"row-seconds-{name[:16]}.json", partial(self._timed_row, base))
            for name, base in bases.items()}
        self._known_retention_s: dict[str, float] = {}

    def row_s(self, way: Rung) -> float:
        """Seconds in which the model that it stands on predicts one row; 0 for a control."""
        return self._row_s.get(way.base.checkpoint.fingerprint, 0.0) if way.base is not None else 0.0

    @property
    def _slowest_s(self) -> float:
        """Seconds of a row of the slowest model."""
        return max(self._row_s.values(), default=0.0)

    @property
    def closing_s(self) -> float:
        """Seconds to keep for the check of what was saved, and the report."""
        return _CLOSING_S + _CHECKED_ROWS * _ADAPTED_OVER_BASE * self._slowest_s

    def rank(self, way: Rung) -> tuple[int, float]:
        """By which ways are tried: controls, the untouched model, and then what is tuned, the quickest first."""
        return ("control", "untouched", "adapted").index(way.kind), self._pace(way).row_s

    def deadline(self, way: Rung, before: Bill) -> Deadline:
        """The bill of a rung that has spent ``before`` already; of a control little is to be checked at the end."""
        keep_s = _CLOSING_S if way.kind == "control" else self.closing_s
        return Deadline(self._run.meter, before=before, keep_s=keep_s)

    def after_s(self, way: Rung) -> float:
        """Seconds to keep for what comes after the training of what is shipped, but for the closing."""
        return _ADAPTED_OVER_BASE * (self._tests * self.row_s(way) + self._retention_s(way))

    def _retention_s(self, way: Rung) -> float:
        """Seconds of a look at what the model knows: as the last one took, if there was one."""
        assert way.base is not None
        guessed = _RETENTION_S["causal" if way.base.causal else "encoder"]
        return self._known_retention_s.get(way.base.checkpoint.fingerprint, guessed)

    def _before_s(self, way: Rung) -> float:
        """Seconds of what comes before a training: what the model knows, and in fewer bits, is measured."""
        return self._retention_s(way) * (1.0 + _ADAPTED_OVER_BASE * getattr(way, "quantized", False))

    def _judging_s(self, way: Rung, protocol: Protocol) -> float:
        """Seconds to keep for the judged rows."""
        return _ADAPTED_OVER_BASE * self.row_s(way) * len(protocol.judged)

    def _beside_s(self, way: Rung, protocol: Protocol) -> float:
        """Seconds of a tuned way that are no training."""
        return self._before_s(way) + self.after_s(way) + self._judging_s(way, protocol)

    def saw_untouched(self, way: Rung, row_s: float) -> None:
        """What a test row of the untouched model took in earnest: the first moments on a shared machine may deceive."""
        assert way.base is not None
        self._row_s[way.base.checkpoint.fingerprint] = row_s

    def saw_retention(self, way: Rung, seconds: float) -> None:
        """What a look at what the untouched model knows took, which will be had again after the training."""
        assert way.base is not None
        self._known_retention_s[way.base.checkpoint.fingerprint] = seconds

    @property
    def _tests(self) -> int:
        return len(self._run.test) if self._run.test is not None else 0

    def _timed_row(self, base: Base) -> float:
        """The median of a few portions, as one may be disturbed; of the first, which warms up, if there is no other."""
        from scrimp.planning.rungs import asked

        few, predictor = few_rows(self._run.train, _TIMED_ROWS[-1], self._run.request.seed), asked(base)
        enough_s, seconds = self._run.meter.remaining_s() * _TIMED_SHARE_OF_TIME, list[float]()
        with self._run.meter.part() as whole:
            for start, end in pairwise(_TIMED_ROWS):
                if not (rows := few.rows[start:end]):
                    break
                with whole.part() as part:
                    predictor.predict(rows, meter=part)
                seconds.append(part.bill().wall_s / len(rows))
                if len(seconds) > 1 and whole.elapsed_s() > enough_s:
                    break
        return median(seconds[1:] or seconds)

    def most_tests(self) -> float:
        """How many test rows the time allows the slowest model to predict."""
        if not self._slowest_s:
            return math.inf
        return max(_LEAST_TEST_ROWS, self._run.meter.remaining_s() * _TEST_SHARE_OF_TIME / self._slowest_s)

    def measure(self, tuned: TunedRung) -> None:
        """Train for a moment, if there is time for more than that; makes it fit the declared memory.

        Raises:
            BudgetError: if it does not, however lean it is made.
        """
        run, refused = self._run, None
        for number, plan in enumerate(leaner(tuned.plan)):
            kept_in = run.folder / f"probe-{tuned.name}-{number}.json"
            needed_s = self.after_s(tuned) + self.closing_s + _LEAST_TRAINING_S
            if run.meter.remaining_s() < needed_s and not kept_in.exists():
                break
            tuned.plan = plan
            probe = Probe.parse(kept(kept_in, lambda: self._probed(tuned)), where=str(kept_in))
            try:
                tuned.fit_memory(probe, run.train, run.request.budget)
            except BudgetError as error:
                refused = error
            else:
                self._saw(tuned, probe)
                return
        if refused is not None:
            raise refused

    def _saw(self, tuned: TunedRung, probe: Probe) -> None:
        train = self._run.train
        controls = _CHEAP_RUNGS_MEMORY if any(way.kind == "control" for way in self._ways) else 0
        memory = max(probe.peak_at(tuned.batch_tokens(train)), probe.resting_memory + tuned.base.mapped)
        self._paces[tuned.name] = Pace(
            row_s=probe.seconds(tuned.tokens(train)) / len(train),
            least_s=max(_LEAST_TRAINING_S, _LEAST_STEPS * probe.seconds(tuned.step_tokens(train))),
            memory=controls + _SHAPES_MEMORY + memory)

    def _probed(self, tuned: TunedRung) -> dict[str, Any]:
        run = self._run
        few_s = _PROBED_SHARE_OF_TIME * run.meter.remaining_s()
        row_s = self.row_s(tuned)
        rows = few_s / (_TRAINED_OVER_ASKED * row_s) if row_s else math.inf
        probe = tuned.probe(run.train, run.folder / "parts" / "probing", run.meter, rows=rows)
        run.ledger.write("probe", **probe.model_dump())
        return probe.model_dump()

    def require(self, way: Rung, protocol: Protocol) -> None:
        """Raise a BudgetError if there is no time to ask the untouched model, or to begin with a tuned one.

        A model that may just finish is begun: the first moments are easily disturbed, and a `Deadline` ends it in time.
        """
        if why := self._left_out.get(way.name):
            raise BudgetError(why, fix="declare a longer --budget")
        left = self._run.meter.remaining_s() - self.closing_s
        needed = self.row_s(way) * (self._tests + len(protocol.judged))
        if way.kind == "untouched" and needed > _DOUBT * left:
            raise BudgetError(f"its predictions would take about {needed:.0f} s, {max(left, 0):.0f} s are left",
                              fix="declare a longer --budget")
        if way.kind == "adapted" and left < self._beside_s(way, protocol) + self._pace(way).least_s:
            self._too_late(left - self._beside_s(way, protocol))

    def _too_late(self, left_s: float) -> NoReturn:
        what = f"of {self._run.meter.remaining_s():.0f} s, {max(left_s, 0):.0f} are left for training, too few to begin"
        raise BudgetError(f"{what}: the rest is kept for its tests and its judging", fix="declare a longer --budget")

    def protocol(self) -> Protocol:
        """The most thorough one that the time allows all rungs together.

        Where the rows are few and cannot be folded with all rungs, the dearest trainings are left out.
        """
        run, path = self._run, self._run.folder / "protocol.json"

        def chosen() -> dict[str, Any]:
            tuned = sorted((way for way in self._ways if way.kind == "adapted"), key=self.rank)
            found, dear = self._protocol_with(tuned), tuned[:0]
            for count in range(len(tuned) - 1, 0, -1) if len(run.train) <= _FEW_ROWS and not found.refit else ():
                if (fewer := self._protocol_with(tuned[:count])).refit:
                    found, dear = fewer, tuned[count:]
                    break
            return {"parts": found.parts, "refit": found.refit, "words": found.words,
                    "left_out": {way.name: self._too_dear(way, found) for way in dear}}

        said = kept(path, chosen)
        self._left_out = said["left_out"]
        parts = tuple((tuple(a), tuple(b)) for a, b in said["parts"])
        return Protocol(parts, refit=said["refit"], words=said["words"])

    def _protocol_with(self, tuned: Sequence[Rung]) -> Protocol:
        """The most thorough one that the time allows the untouched model, the controls and these."""
        run, asks = self._run, [way for way in self._ways if way.kind == "untouched"]
        left = run.meter.remaining_s() - self.closing_s - _CHEAP_RUNGS_S - sum(
            self.row_s(way) * (self._tests + len(run.train)) for way in asks) - sum(
            self._before_s(way) + self.after_s(way) for way in tuned)
        trained_s, judge_s = sum(self._pace(way).row_s for way in tuned), sum(map(self.row_s, tuned))
        return choose(run.train, seconds=lambda rows: trained_s * rows, left_s=left * 0.9, judge_s=judge_s,
                      seed=run.request.seed)

    def _too_dear(self, way: Rung, protocol: Protocol) -> str:
        seconds = self._pace(way).row_s * sum(protocol.trainings(len(self._run.train)))
        return (f"its {len(protocol.parts) + 1} trainings would take about {seconds:.0f} s, "
                "and on so few rows the others are judged better without it")

    def foresee(self, protocol: Protocol) -> None:
        """Predict what the rungs and the run will cost, so that it can be told beside what they did cost."""
        path = self._run.folder / "foreseen.json"

        def predicted() -> dict[str, Any]:
            found = {name: forecast.model_dump() for name, forecast in self._forecasts(protocol).items()}
            self._run.ledger.write("foreseen", **found)
            return found

        self.foreseen = {name: Forecast.parse(found, where=str(path)) for name, found in kept(path, predicted).items()}

    def _forecasts(self, protocol: Protocol) -> dict[str, Forecast]:
        """A training that does not fit is foreseen as the budget will cut it; what will be left out is not."""
        rest_s = _CHEAP_RUNGS_S if any(way.kind == "control" for way in self._ways) else 0.0
        found = {}
        for way in sorted(self._ways, key=self.rank):
            pace, adapts = self._pace(way), way.kind == "adapted"
            asking_s = self.row_s(way) * (self._tests + len(protocol.judged))
            needed_s = self._beside_s(way, protocol) if adapts else asking_s
            left_s = self._run.meter.remaining_s() - self.closing_s - rest_s - needed_s
            if way.kind == "control" or left_s <= (pace.least_s if adapts else 0) or (adapts and not pace.row_s) \
                    or way.name in self._left_out:
                continue
            trained_s = min(pace.row_s * sum(protocol.trainings(len(self._run.train))), left_s) if adapts else 0.0
            found[way.name] = Forecast(wall_s=needed_s + trained_s, peak_memory=pace.memory)
            rest_s += needed_s + trained_s
        rest_s += self.closing_s if found else _CLOSING_S
        memory = max((one.peak_memory for one in found.values() if one.peak_memory), default=None)
        return {**found, WHOLE: Forecast(wall_s=self._run.meter.elapsed_s() + rest_s, peak_memory=memory)}

    def allowance(self, way: Rung, rows: Sequence[int], *, protocol: Protocol) -> Budget:
        """Seconds and tokens for the next training of an adapted model: its share of what is left.

        Seconds are kept for all that is no training, of this way and of those that follow. Where there is too little
        for all, a way that needs less than an equal part gets what it needs.

        Args:
            rows: rows of this and of all further trainings of this way.
            protocol: who is trained on what.

        Raises:
            BudgetError: if what is left is too short to begin.
        """
        meter, limit, pace = self._run.meter, self._run.request.budget.tokens, self._pace(way)
        own_s, whole = sum(rows) * pace.row_s, sum(protocol.trainings(len(self._run.train)))
        first = len(rows) == len(protocol.trainings(len(self._run.train)))
        own_rest_s = (self.after_s(way) if first else 0.0) + self._judging_s(way, protocol)
        later = self._followers(way, own_s + own_rest_s, protocol)
        later_s = sum(self._pace(one).row_s for one in later) * whole
        part, share = rows[0] / sum(rows), own_s / (own_s + later_s) if own_s else 1.0
        tokens = None if limit is None else max(1, int(part * share * (limit - meter.bill().tokens_backward)))
        if math.isinf(meter.remaining_s()):
            return Budget(tokens=tokens)
        left = meter.remaining_s() - self.closing_s - own_rest_s - sum(self._beside_s(one, protocol) for one in later)
        share = part * max(share, min(own_s / left, 1 / (len(later) + 1)) if left > 0 else 0.0)
        if share * left < pace.least_s:
            self._too_late(share * left)
        return Budget(time=share * left, tokens=tokens)

    def _pace(self, way: Rung) -> Pace:
        return self._paces.get(way.name, Pace())

    def _followers(self, way: Rung, own_s: float, protocol: Protocol) -> list[Rung]:
        """The tuned ways after this one for which there will be time once it had its ``own_s``."""
        tuned = sorted((one for one in self._ways if one.kind == "adapted"), key=self.rank)
        left = self._run.meter.remaining_s() - self.closing_s - own_s
        found: list[Rung] = []
        for one in tuned[tuned.index(way) + 1:]:
            left -= self._beside_s(one, protocol) + self._pace(one).least_s
            if left >= 0 and one.name not in self._left_out:
                found.append(one)
        return found


class Deadline(Meter):
    """The bill of a rung, which ends in the middle of its predictions when the time of the run is over.

    Args:
        keep_s: seconds of the run that are not its to spend.
    """

    def __init__(self, run: Meter, *, before: Bill, keep_s: float) -> None:
        super().__init__(Budget(), before, run)
        self._run, self._keep_s = run, keep_s

    def charge(self, *, tokens_forward: int = 0, tokens_backward: int = 0, flops: float = 0.0) -> None:
        super().charge(tokens_forward=tokens_forward, tokens_backward=tokens_backward, flops=flops)
        if self._run.remaining_s() < self._keep_s:
            raise BudgetError("the time was over before it was done", fix="declare a longer --budget")


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What ``make`` returns, as JSON holds it; found in the file where an earlier attempt left it."""
    if not path.exists():
        atomic_write(path, json.dumps(make()))
    return json.loads(path.read_text(encoding="utf-8"))


def few_rows(examples: Examples, most: int, seed: int) -> Examples:
    """At most ``most`` rows, drawn by ``seed``, in their own order."""
    if len(examples) <= most:
        return examples
    return examples.subset(sorted(random.Random(seed).sample(range(len(examples)), most)))
