"""How long it will take: measured for a moment on the person's own rows, planned with, and told beside what it took.

What is measured is kept as a step of the run, so that a run that was killed continues with the plan that it had.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, NoReturn

from scrimp.core.budget import Bill, Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.core.workspace import atomic_write
from scrimp.evaluation.outcome import WHOLE, Forecast
from scrimp.evaluation.retention import questions
from scrimp.examples.records import Examples, input_text
from scrimp.planning.costs import Probe, check_resting, leaner
from scrimp.planning.protocol import FOLDS, Protocol, choose, folded
from scrimp.planning.rungs import Base, Rung, TunedRung, asked

if TYPE_CHECKING:
    from scrimp.planning.ladder import Run

__all__ = ["Pace", "Timing", "kept", "shuffled"]

_CLOSING_S, _ENDING_S = 6.0, 2.0  # kept for the report and the end of the process; what they mostly take
_CHECKED_ROWS = 8  # on which what was saved is compared
_LOADING_S, _LOADING_SHARE_OF_TIME = 1.5, 0.05  # of a member of a blend; of all, as much is kept at most
_ASKING_SHARE_OF_TIME = 0.2  # for all that the untouched model is asked, where there are controls
_SHOWING_SHARE = 0.5  # of that, for what it is asked with rows that are shown before
_ADAPTED_OVER_BASE = 1.5  # a model predicts that much slower under its adapter
_RETENTION_S = {"causal": 15.0, "encoder": 4.0}
_RETENTION_TOKENS, _RETENTION_SHARE_OF_TIME = {"causal": 9000, "encoder": 4000}, 0.03  # of a look at all; at most
_LEAST_LOOKED = 20  # texts and questions
_TEST_SHARE_OF_TIME = 0.06  # of the time budget, at most, for a model's predictions of the test rows
_BESIDE_SHARE_OF_TIME = 0.15  # of what is left, at most, to read rows without labels
_LEAST_TEST_ROWS = 25
_TIMED_ROWS = (0, 1, 3, 7, 15, 24)  # where portions begin and end: on a slow machine the first ones must do
_TIMED_ANSWERS = (0, 1, 9, 25)  # of what writes: many answers are written in little more time than one
_TIMED_SHARE_OF_TIME, _PROBED_SHARE_OF_TIME = 0.03, 0.06  # at most, but for a first portion, which warms up
_WARMED_SHARE_OF_TIME = 0.2  # a first row that takes longer is not followed by another
_TRAINED_OVER_ASKED = 3.0  # a row is trained on that much slower than it is predicted
_LEAST_TRAINING_S, _LEAST_STEPS = 3.0, 4
_DOUBT = 1.5  # what is foreseen to take that many times what is left is not begun
_CHEAP_RUNGS_S = 8.0
_FEW_ROWS = 300  # of which too few would be held out: a dear way is sooner left out than they are not folded
_ENOUGH = 0.3  # of the steps that a plan wants, for a training to be worth having
_WORTH = {1.0: 1.0, 0.6: 0.8, _ENOUGH: 0.2, 0.0: 0.0}  # of a training, by the share of its steps
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
        self.foreseen: dict[str, Forecast] = {}
        bases = {way.base.checkpoint.fingerprint: way.base for way in ways
                 if way.base and (way.kind != "control" or way.asks or way.beside)}
        self._row_s: dict[str, float] = {
            name: kept(run.folder / f"row-seconds-{name[:16]}.json", partial(self._timed_row, base))
            for name, base in bases.items()}
        self._known_retention_s: dict[str, float] = {}
        self._folds: int | None = None
        self._shares: Mapping[str, float] = {}
        self._order: list[Rung] = []
        test, test_s = run.test, _TEST_SHARE_OF_TIME * run.meter.remaining_s()
        self._tests: dict[str, int] = {} if test is None else kept(run.folder / "tests.json", lambda: {
            way.name: min(len(test), max(_LEAST_TEST_ROWS, self._affordable(way, test_s))) for way in ways})

    def _affordable(self, way: Rung, seconds: float) -> int:
        """Rows that a way predicts within so many seconds."""
        row_s = self.row_s(way)
        return sys.maxsize if not row_s or math.isinf(seconds) else int(seconds / row_s)

    def readable(self, way: Rung) -> int:
        """How many rows beside those that it learns from and is asked about a way has time to read."""
        path = self._run.folder / f"beside-{way.name}.json"
        seconds = _BESIDE_SHARE_OF_TIME * self._run.meter.remaining_s()
        return int(kept(path, lambda: min(way.beside, self._affordable(way, seconds))))

    def tests(self, way: Rung) -> int:
        """How many of the test rows, from the first, a way is tested on."""
        return self._tests.get(way.name, 0)

    def row_s(self, way: Rung) -> float:
        """Seconds in which the model that it stands on is asked about one row; 0 where none is."""
        asked_s = self._row_s.get(way.base.checkpoint.fingerprint, 0.0) if way.base is not None else 0.0
        return asked_s * max(way.asks, 1.0)

    def _tuned_row_s(self, way: Rung) -> float:
        """Seconds in which it predicts one row once it is tuned; where it writes, it has learned when to stop."""
        assert way.base is not None
        slower = 1.0 if way.in_place else _ADAPTED_OVER_BASE
        return slower * way.base.answer_share * self.row_s(way)

    @property
    def _slowest_s(self) -> float:
        """Seconds of a row of the slowest way."""
        return max(map(self.row_s, self._ways), default=0.0)

    @property
    def closing_s(self) -> float:
        """Seconds to keep for the check of what was saved, and the report."""
        loading_s = self.loading_s(self._ways)
        if self._run.request.budget.time is not None:
            loading_s = min(loading_s, _LOADING_SHARE_OF_TIME * self._run.request.budget.time)
        return _CLOSING_S + _CHECKED_ROWS * _ADAPTED_OVER_BASE * self._slowest_s + loading_s

    def loading_s(self, ways: Sequence[Rung]) -> float:
        """Seconds in which the models of a blend of these are loaded again."""
        blends = self._run.train.layout.headed
        return _LOADING_S * sum(way.base is not None for way in ways) if blends else 0.0

    def may_blend(self, ways: Sequence[Rung]) -> bool:
        """Whether there is time to check a blend of these."""
        return self._run.meter.remaining_s() > self.loading_s(ways) + _CLOSING_S / 2

    def rank(self, way: Rung) -> tuple[int, float]:
        """By which ways are tried: controls, what asks the untouched model, what is tuned; of each the quickest."""
        return 2 if way.kind == "adapted" else int(way.asks > 0), way.asks + self._pace(way).row_s

    def deadline(self, way: Rung, before: Bill) -> Deadline:
        """The bill of a rung that has spent ``before`` already; of what asks no model little is checked at the end."""
        keep_s = _CLOSING_S if way.kind == "control" and not way.asks else self.closing_s
        return Deadline(self._run.meter, before=before, keep_s=keep_s)

    def after_s(self, way: Rung) -> float:
        """Seconds to keep for what comes after the training of what is shipped, but for the closing."""
        return self.tests(way) * self._tuned_row_s(way) + _ADAPTED_OVER_BASE * self._retention_s(way)

    def _retention_s(self, way: Rung) -> float:
        """Seconds of a look at what the model knows: as the last one took, if there was one."""
        assert way.base is not None
        guessed = _RETENTION_S["causal" if way.base.causal else "encoder"]
        if self.looked(way) is not None:
            guessed = min(guessed, self._look_s())
        return self._known_retention_s.get(way.base.checkpoint.fingerprint, guessed)

    def _look_s(self) -> float:
        """Seconds that a look at what a model knows may take."""
        return _RETENTION_SHARE_OF_TIME * float(self._run.request.budget.time or math.inf)

    def looked(self, way: Rung) -> int | None:
        """How many texts and questions a look at what the model knows takes in; None: all."""
        assert way.base is not None
        base, path = way.base, self._run.folder / f"looked-{way.base.checkpoint.fingerprint[:16]}.json"

        def most() -> int | None:
            if not self.row_s(way) or math.isinf(self._look_s()):
                return None
            token_s = self.row_s(way) / base.row_tokens(self._run.train)
            whole_s = _RETENTION_TOKENS["causal" if base.causal else "encoder"] * token_s
            share = self._look_s() / whole_s
            return None if share >= 1 else max(_LEAST_LOOKED, int(share * len(questions())))

        return kept(path, most)

    def _before_s(self, way: Rung) -> float:
        """Seconds of what comes before a training: what the model knows, and in fewer bits, is measured."""
        return self._retention_s(way) * (1.0 + _ADAPTED_OVER_BASE * way.quantized)

    def _judging_s(self, way: Rung, protocol: Protocol) -> float:
        """Seconds to keep for the judged rows."""
        return self._tuned_row_s(way) * len(protocol.judged)

    def _beside_s(self, way: Rung, protocol: Protocol) -> float:
        """Seconds of a tuned way that are no training."""
        return self._before_s(way) + self.after_s(way) + self._judging_s(way, protocol)

    def saw_untouched(self, way: Rung, row_s: float) -> None:
        """What a test row of the untouched model took in earnest: the first moments on a shared machine may deceive."""
        assert way.base is not None
        self._row_s[way.base.checkpoint.fingerprint] = row_s

    def saw_judged(self, way: Rung, seconds: float, rows: int) -> None:
        """What so many judged rows took a tuned way, which is tested on as many rows as there is time for then."""
        if way.kind != "adapted" or not rows or not seconds:
            return
        left_s = self._run.meter.remaining_s() - self.closing_s - _ADAPTED_OVER_BASE * self._retention_s(way)
        if self.tests(way) * seconds / rows > left_s:
            self._tests = {**self._tests, way.name: max(int(left_s * rows / seconds), 1)}

    def saw_retention(self, way: Rung, seconds: float) -> None:
        """What a look at what the untouched model knows took, which will be had again after the training."""
        assert way.base is not None
        self._known_retention_s[way.base.checkpoint.fingerprint] = seconds

    def _timed_row(self, base: Base) -> float:
        """The median of a few portions, as one may be disturbed.

        The first is the shortest row, which warms up and loads the model; where that took long, a single row follows,
        and where it took very long, it must do, by how long the others are.
        """
        predictor, portions = asked(base), _TIMED_ANSWERS if base.writes else _TIMED_ROWS
        few = [*shuffled(self._run.train, self._run.request.seed).rows[:portions[-1]]]
        lengths = [len(input_text(row)) for row in few]
        few.insert(0, few.pop(lengths.index(min(lengths))))
        left_s, seconds = self._run.meter.remaining_s(), list[float]()
        enough_s = left_s * _TIMED_SHARE_OF_TIME
        with self._run.meter.part() as whole:
            for start, end in pairwise(portions):
                if not (rows := few[start:end if whole.elapsed_s() <= _DOUBT * enough_s else start + 1]):
                    break
                with whole.part() as part:
                    predictor.predict(rows, meter=part)
                seconds.append(part.bill().wall_s / len(rows))
                if whole.elapsed_s() > (enough_s if len(seconds) > 1 else _WARMED_SHARE_OF_TIME * left_s):
                    break
        return median(seconds[1:] or [seconds[0] * mean(lengths) / max(min(lengths), 1)])

    def measure(self, tuned: TunedRung) -> None:
        """Train for a moment, if there is time for more than that; makes it fit the declared memory.

        Raises:
            BudgetError: if it does not, however lean it is made.
        """
        run, refused = self._run, None
        if tuned.name in self._paces:
            return
        check_resting(run.request.budget)
        for number, plan in enumerate(leaner(tuned.plan)):
            kept_in = run.folder / f"probe-{tuned.name}-{number}.json"
            needed_s = self.after_s(tuned) + self.closing_s + _LEAST_TRAINING_S
            if run.meter.remaining_s() < needed_s and not kept_in.exists():
                break
            tuned.plan = plan
            try:
                probe = Probe.parse(kept(kept_in, lambda: self._probed(tuned)), where=str(kept_in))
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
        whole_s, step_s = probe.seconds(tuned.tokens(train)), probe.seconds(tuned.step_tokens(train))
        self._paces[tuned.name] = Pace(
            row_s=whole_s / len(train),
            least_s=max(_LEAST_TRAINING_S, min(_LEAST_STEPS * step_s, _ENOUGH * whole_s)),
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
        if not self._share(way):
            raise BudgetError(self._too_dear(way), fix="declare a longer --budget")
        left = self._run.meter.remaining_s() - self.closing_s
        needed = self.row_s(way) * (self.tests(way) + len(protocol.judged))
        allowed_s = self._asking_s if way.kind == "untouched" else _SHOWING_SHARE * self._asking_s
        if way.asks and needed > allowed_s and any(one.kind == "control" for one in self._ways if not one.asks):
            raise BudgetError(f"its predictions would take about {needed:.0f} s, more than the {allowed_s:.0f} s "
                              "that they may take", fix="declare a longer --budget")
        if way.asks and needed > _DOUBT * left:
            raise BudgetError(f"its predictions would take about {needed:.0f} s, {max(left, 0):.0f} s are left",
                              fix="declare a longer --budget")
        if way.kind == "adapted" and left < self._beside_s(way, protocol) + self._pace(way).least_s:
            self._too_late(left - self._beside_s(way, protocol))

    @property
    def _asking_s(self) -> float:
        """Seconds that the untouched model may take, where there are controls."""
        return _ASKING_SHARE_OF_TIME * (self._run.request.budget.time or math.inf)

    def _too_late(self, left_s: float) -> NoReturn:
        what = f"of {self._run.meter.remaining_s():.0f} s, {max(left_s, 0):.0f} are left for training, too few to begin"
        raise BudgetError(f"{what}: the rest is kept for its tests and its judging", fix="declare a longer --budget")

    def protocol(self) -> Protocol:
        """How the rows are parted: folded, or a part of them held out where folds would leave no time for tuned ways.

        Few rows are folded in any case: too few of them would be held out.
        """
        run, path = self._run, self._run.folder / "protocol.json"

        def chosen() -> dict[str, Any]:
            found = choose(run.train, folds=self._may_fold(), seed=run.request.seed)
            return {"parts": found.parts, "refit": found.refit, "words": found.words}

        said = kept(path, chosen)
        parts = tuple((tuple(a), tuple(b)) for a, b in said["parts"])
        return Protocol(parts, refit=said["refit"], words=said["words"])

    def _may_fold(self) -> bool:
        """Whether there is time to train the quickest of the tuned ways on folds, or its pace does not matter."""
        tuned = [way for way in self._ways if way.kind == "adapted" and self._pace(way).row_s]
        return not self.asks_paces or not tuned or self._fit([(min(tuned, key=self.rank), _ENOUGH)], FOLDS[-1])

    @property
    def asks_paces(self) -> bool:
        """Whether it takes the paces of what is tuned to say how rows are parted.

        Few rows with labels or scores are folded in any case, as ways that tune nothing do well on them.
        """
        return len(self._run.train) > _FEW_ROWS or not self._run.train.layout.headed

    def hopeless(self, tuned: TunedRung) -> bool:
        """Whether few rows are so long that there is no time to fold this way, as asking the model tells."""
        if self.asks_paces:
            return False
        visits, left_s = tuned.visits(self._run.train), self._run.meter.remaining_s()
        trained_s = FOLDS[-1] * _ENOUGH * visits * _TRAINED_OVER_ASKED * self.row_s(tuned)
        return kept(self._run.folder / f"hopeless-{tuned.name}.json", lambda: trained_s > _DOUBT * left_s)

    def plan(self, tuned: Sequence[Rung], protocol: Protocol) -> list[Rung]:
        """Which of the tuned ways are trained, and on how many folds; those that there is no time for are left out.

        Args:
            tuned: the most promising first.
            protocol: of the others.

        Returns:
            All of ``tuned``, those that are trained first.
        """
        said = kept(self._run.folder / "plan.json", lambda: self._planned(tuned, protocol))
        self._folds, self._shares = said["folds"], said["shares"]
        self._order = sorted(tuned, key=lambda way: not self._share(way))
        return self._order

    def _planned(self, tuned: Sequence[Rung], protocol: Protocol) -> dict[str, Any]:
        """Which share of its steps each way is trained, none at worst, and on how many folds: what is worth most."""
        if not protocol.refit:
            return {"folds": None, "shares": {}}
        plans = [(sum(map(_WORTH.__getitem__, shares)), shares, folds) for shares in product(_WORTH, repeat=len(tuned))
                 for folds in FOLDS if folds <= len(protocol.parts) and (folds == FOLDS[-1] or {*shares} <= {0.0, 1.0})]
        shares, folds = next(
            (shares, folds) for _, shares, folds in sorted(plans, reverse=True)
            if self._fit([(way, share) for way, share in zip(tuned, shares, strict=True) if share], folds))
        return {"folds": folds, "shares": {way.name: share for way, share in zip(tuned, shares, strict=True)}}

    def _fit(self, some: Sequence[tuple[Rung, float]], folds: int) -> bool:
        """Whether there is time for these, each trained the share of what its plan wants that stands beside it."""
        left, rows = self._run.meter.remaining_s() - self.closing_s, len(self._run.train)
        if math.isinf(left) or not some:
            return True
        trained_s = sum(max(share * folds * rows * self._pace(way).row_s, self._pace(way).least_s)
                        for way, share in some)
        beside_s = sum(self._before_s(way) + self.after_s(way) + self._tuned_row_s(way) * rows for way, _ in some)
        return all(self._pace(way).row_s for way, _ in some) and trained_s + beside_s <= 0.95 * left

    def protocol_of(self, way: Rung, protocol: Protocol) -> Protocol:
        """How one way is trained and judged, on the rows that all are judged on.

        What costs next to nothing is always fitted on all rows; what is tuned is parted as it was planned.
        """
        if way.kind != "adapted":
            return replace(protocol, refit=True)
        if self._folds and self._share(way):
            return folded(self._run.train, self._folds, self._run.request.seed)
        return protocol

    def _too_dear(self, way: Rung) -> str:
        if not self._pace(way).row_s:
            return "there is no time left for training that could be judged"
        seconds = self._pace(way).row_s * FOLDS[-1] * len(self._run.train)
        return (f"its {FOLDS[-1] + 1} trainings would take about {seconds:.0f} s, and on so few rows the others are "
                "judged better without it")

    def foresee(self, ways: Sequence[Rung], protocol: Protocol) -> None:
        """Predict what these ways, in turn, and the run will cost, so that it can be told beside what they did cost."""
        path = self._run.folder / f"foreseen-{'-'.join(way.name for way in ways) or 'nothing'}.json"

        def predicted() -> dict[str, Any]:
            found = {name: forecast.model_dump() for name, forecast in self._forecasts(ways, protocol).items()}
            self._run.ledger.write("foreseen", **found)
            return found

        self.foreseen |= {name: Forecast.parse(found, where=str(path)) for name, found in kept(path, predicted).items()}

    def _forecasts(self, ways: Sequence[Rung], protocol: Protocol) -> dict[str, Forecast]:
        """A training that does not fit is foreseen as the budget will cut it; what will be left out is not."""
        rest_s = _CHEAP_RUNGS_S if any(way.kind == "control" for way in ways) else 0.0
        found = {}
        for way in ways:
            pace, adapts = self._pace(way), way.kind == "adapted"
            asking_s = self.row_s(way) * (self.tests(way) + len(protocol.judged) + way.beside)
            needed_s = self._beside_s(way, protocol) if adapts else asking_s
            left_s = self._run.meter.remaining_s() - self.closing_s - rest_s - needed_s
            if not (adapts or way.asks) or left_s <= (pace.least_s if adapts else 0) or (adapts and not pace.row_s) \
                    or not self._share(way):
                continue
            trainings = self.protocol_of(way, protocol).trainings(len(self._run.train))
            trained_s = min(self._wanted_s(way) * sum(trainings), left_s) if adapts else 0.0
            found[way.name] = Forecast(wall_s=needed_s + trained_s, peak_memory=pace.memory)
            rest_s += needed_s + trained_s
        rest_s += _ENDING_S + (self.closing_s - _CLOSING_S if found else 0.0)
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
        own_s, whole = sum(rows) * self._wanted_s(way), sum(protocol.trainings(len(self._run.train)))
        first = len(rows) == len(protocol.trainings(len(self._run.train)))
        own_rest_s = (self.after_s(way) if first else 0.0) + self._judging_s(way, protocol)
        later = self._followers(way, own_s + own_rest_s, protocol)
        later_s = sum(map(self._wanted_s, later)) * whole
        part, share = rows[0] / sum(rows), own_s / (own_s + later_s) if own_s else 1.0
        tokens = None if limit is None else max(1, int(part * share * (limit - meter.bill().tokens_backward)))
        if math.isinf(meter.remaining_s()):
            return Budget(tokens=tokens)
        left = meter.remaining_s() - self.closing_s - own_rest_s - sum(self._beside_s(one, protocol) for one in later)
        share = part * max(share, min(own_s / left, 1 / (len(later) + 1)) if left > 0 else 0.0)
        if share * left < pace.least_s:
            self._too_late(share * left)
        return Budget(time=share * left, tokens=tokens)

    def _wanted_s(self, way: Rung) -> float:
        """Seconds to train on one row, of the share of its steps that is planned."""
        return self._share(way) * self._pace(way).row_s

    def _share(self, way: Rung) -> float:
        """Of its steps, the share that is planned; 0 of a way that is left out."""
        return self._shares.get(way.name, 1.0)

    def _pace(self, way: Rung) -> Pace:
        return self._paces.get(way.name, Pace())

    def _followers(self, way: Rung, own_s: float, protocol: Protocol) -> list[Rung]:
        """The tuned ways after this one for which there will be time once it had its ``own_s``."""
        tuned = self._order or sorted((one for one in self._ways if one.kind == "adapted"), key=self.rank)
        left = self._run.meter.remaining_s() - self.closing_s - own_s
        found: list[Rung] = []
        for one in tuned[tuned.index(way) + 1:]:
            left -= self._beside_s(one, protocol) + self._pace(one).least_s
            if left >= 0 and self._share(one):
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


def shuffled(examples: Examples, seed: int) -> Examples:
    """The rows in an order drawn by ``seed``."""
    return examples.subset(random.Random(seed).sample(range(len(examples)), len(examples)))
