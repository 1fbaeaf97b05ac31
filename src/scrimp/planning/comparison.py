"""What a comparison of ways found: paired differences, fronts, and the way that the numbers speak for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from scrimp.core.budget import Bill
from scrimp.core.errors import DataError
from scrimp.core.options import Options
from scrimp.core.workspace import atomic_write
from scrimp.evaluation.outcome import Rung, Score
from scrimp.planning.fronts import front

__all__ = ["MEASURES", "Arm", "Choice", "Comparison", "Difference", "Measure", "Trial", "Try", "compared", "interval"]

Measure = Literal["quality", "retention", "time", "memory", "bytes"]
Prediction = Mapping[str, Any]


class Trial(Options):
    """One arm with one seed.

    Attributes:
        seed: of everything that is drawn.
        quality: its score on the rows on which all arms are measured.
        rung: the way that it ended with, and what that forgot and ships.
        bill: what it cost, selecting and choosing included.
        spent: what its process spent in all: also on the ways beside it, and on measuring.
        tested: fingerprint of the rows that it was measured on.
        train_rows: rows that it learned from.
        adapter: settings of its adapter, as PEFT writes them.
        created: when it was finished, ISO 8601.
    """

    seed: int
    quality: Score
    rung: Rung
    bill: Bill
    spent: Bill = Bill()
    tested: str
    train_rows: int
    adapter: dict[str, Any] | None = None
    created: str

    def value(self, measure: Measure) -> float | None:
        """What was measured; None where it was not. A way that adapts no model forgets nothing."""
        if measure == "quality":
            return self.quality.value
        if measure == "retention":
            found = self.rung.retention
            return found.change if found else None if self.rung.kind == "adapted" else 0.0
        return {"time": self.bill.wall_s, "memory": self.bill.peak_memory, "bytes": self.rung.ship_bytes}[measure]


class Try(Options):
    """One setting of a search: what was changed, the score that it had, or why it has none."""

    point: dict[str, Any]
    score: float | None = None
    failed: str | None = None
    bill: Bill = Bill()


class Arm(Options):
    """One way that is compared.

    Attributes:
        name: short and unique.
        kind: the part that it plays.
        title: what a person reads.
        recipe: the file that it was read from; None of what was added unasked.
        model: the base model, as it was named.
        chosen: settings that the search chose.
        tried: all that the search tried.
        trials: of each seed that was finished.
        failed: seed -> why it was not.
    """

    name: str
    kind: Literal["untouched", "control", "adapted", "blend"]
    title: str
    recipe: str | None = None
    model: str
    chosen: dict[str, Any] = {}
    tried: tuple[Try, ...] = ()
    trials: tuple[Trial, ...] = ()
    failed: dict[int, str] = {}

    def mean(self, measure: Measure) -> float | None:
        """Over the seeds; None where it was not measured with each."""
        values = [value for trial in self.trials if (value := trial.value(measure)) is not None]
        return fmean(values) if values and len(values) == len(self.trials) else None


class Difference(Options):
    """How much more an arm has of something than another, over seeds that both finished.

    Attributes:
        low, high: the interval; all differences from any one arm lie in theirs together 95 times of 100. None with
            fewer than two seeds.
    """

    measure: Measure
    arm: str
    over: str
    value: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Choice(Options):
    """What the numbers speak for.

    Attributes:
        best: the arm with the best mean quality.
        equals: arms that were not shown to be worse than it.
        advised: of these all, the one that takes least time.
    """

    best: str
    equals: tuple[str, ...]
    advised: str


class Comparison(Options):
    """A whole comparison.

    Attributes:
        format: version of this record.
        asked: the request in the person's words.
        metric, higher_is_better: of the quality.
        forgetting: what retention is a change of, and whether more of it is better; None where it cannot be compared.
        arms: the person's, in their order, then the controls.
        differences: of every two arms, in every measure that both have.
        fronts: by the measure that quality is set against, or "all": the arms that none beats in all of them.
        tries: settings that each searched arm tried.
        advice: one sentence.
        bill: of everything, earlier attempts included.
        parts: bill of each part.
        warnings: what a person should know.
    """

    format: int = 1
    asked: dict[str, Any]
    metric: str
    higher_is_better: bool
    forgetting: tuple[str, bool] | None
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    fronts: dict[str, tuple[str, ...]]
    choice: Choice
    tries: int
    advice: str = ""
    bill: Bill
    parts: dict[str, Bill] = {}
    warnings: tuple[str, ...] = ()
    environment: dict[str, Any] = {}

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def difference(self, arm: str, over: str, measure: Measure = "quality") -> Difference | None:
        """How much more ``arm`` has than ``over``; None where they were not compared."""
        for found in self.differences:
            if found.measure == measure and {found.arm, found.over} == {arm, over}:
                return found if found.arm == arm else _turned(found)
        return None

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        atomic_write(path, json.dumps(self.model_dump(mode="json"), indent=1))


MEASURES: tuple[Measure, ...] = ("quality", "retention", "time", "memory", "bytes")
Compare = Callable[[str, str, int], tuple[float, float]]  # two arms and a seed -> the interval of their rows


def interval(values: Sequence[float], *, rows: tuple[float, int] = (0.0, 2),
             confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval of the mean of paired differences, one a seed; None with fewer than two.

    Welch and Satterthwaite's, where two variances are summed.

    Args:
        rows: variance of that mean for want of more test rows, where all seeds are measured on the same ones (their
            spread does not tell of it), and how many rows.
    """
    from scipy import stats

    if len(values) < 2:
        return None
    mean = fmean(values)
    spread = sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
    whole = spread + rows[0]
    if whole == 0:
        return mean, mean
    freedom = whole**2 / (spread**2 / (len(values) - 1) + rows[0] ** 2 / (rows[1] - 1))
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(whole)
    return mean - half, mean + half


def compared(arms: Sequence[Arm], by_rows: Compare, **rest: Any) -> Comparison:
    """The whole record of ``arms``, of which some may have finished no seed.

    Args:
        by_rows: the 95 % interval over test rows of the difference in quality of two arms with a seed.
        rest: what else the record holds.

    Raises:
        DataError: if no arm finished a seed, or arms were measured by different metrics or on different rows.
    """
    done = [arm for arm in arms if arm.trials]
    if not done:
        why = next((f"{arm.name}: {told}" for arm in arms for told in arm.failed.values()), None)
        raise DataError("no arm finished with any seed", why=why, fix="declare a longer --budget")
    _check_same(done)
    score, forgetting = done[0].trials[0].quality, _forgetting(done)
    measures = [one for one in MEASURES if one != "retention" or forgetting]
    confidence = 1 - 0.05 / max(len(done) - 1, 1)
    found = [difference for measure in measures for first, second in combinations(done, 2)
             if (difference := _difference(measure, first, second, by_rows, confidence)) is not None]
    better = {"quality": score.higher_is_better, "retention": bool(forgetting and forgetting[1])}
    return Comparison(
        metric=score.metric, higher_is_better=score.higher_is_better, forgetting=forgetting, arms=tuple(arms),
        differences=tuple(found), fronts=_fronts(done, measures, better),
        choice=_choice(done, found, score.higher_is_better), **rest)


def _check_same(arms: Sequence[Arm]) -> None:
    for seed in sorted({trial.seed for arm in arms for trial in arm.trials}):
        trials = [(arm.name, trial) for arm in arms for trial in arm.trials if trial.seed == seed]
        (first, like), *others = trials
        for name, trial in others:
            if trial.quality.metric != like.quality.metric:
                raise DataError(f"'{first}' is measured by {like.quality.metric}, '{name}' by {trial.quality.metric}",
                                fix="name the same metric in all recipes")
            if trial.tested != like.tested:
                raise DataError(f"'{first}' and '{name}' are measured on different rows with seed {seed}",
                                fix="name the same data.test in all recipes")


def _forgetting(arms: Sequence[Arm]) -> tuple[str, bool] | None:
    """What retention is measured by, where it is the same for all and nobody lacks it."""
    kinds = {(found.measure, found.higher_is_better) for arm in arms for trial in arm.trials
             if (found := trial.rung.retention) is not None}
    whole = all(arm.mean("retention") is not None for arm in arms)
    return kinds.pop() if len(kinds) == 1 and whole else None


def _difference(measure: Measure, first: Arm, second: Arm, by_rows: Compare, confidence: float) -> Difference | None:
    one, other = ({trial.seed: trial for trial in arm.trials} for arm in (first, second))
    both = sorted(one.keys() & other.keys())
    pairs = [(one[seed].value(measure), other[seed].value(measure)) for seed in both]
    values = [a - b for a, b in pairs if a is not None and b is not None]
    if not values or len(values) < len(pairs):
        return None
    rows = (0.0, 2)
    if measure == "quality" and len({one[seed].tested for seed in both}) == 1:
        widths = [high - low for low, high in (by_rows(first.name, second.name, seed) for seed in both)]
        rows = fmean((width / (2 * 1.96)) ** 2 for width in widths), max(one[both[0]].quality.n, 2)
    low, high = interval(values, rows=rows, confidence=confidence) or (None, None)
    return Difference(measure=measure, arm=first.name, over=second.name, value=fmean(values), low=low, high=high,
                      seeds=len(values))


def _turned(found: Difference) -> Difference:
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return Difference(measure=found.measure, arm=found.over, over=found.arm, value=-found.value, low=low, high=high,
                      seeds=found.seeds)


def _fronts(arms: Sequence[Arm], measures: Sequence[Measure], better: Mapping[str, bool]) -> dict[str, tuple[str, ...]]:
    """Of quality against each other measure, and of all together."""
    def place(arm: Arm, measure: Measure) -> float:
        value = arm.mean(measure)
        assert value is not None  # a measure that an arm lacks is none of these
        return value if better.get(measure, False) else -value

    asked: dict[str, tuple[Measure, ...]] = {one: ("quality", one) for one in measures if one != "quality"}
    return {name: tuple(arms[i].name for i in front([[place(arm, one) for one in several] for arm in arms]))
            for name, several in {**asked, "all": tuple(measures)}.items()}


def _choice(arms: Sequence[Arm], differences: Sequence[Difference], higher: bool) -> Choice:
    def mean(arm: Arm, measure: Measure) -> float:
        return arm.mean(measure) or 0.0

    several = [arm for arm in arms if len(arm.trials) > 1]  # one seed alone tells too little to lead
    best = max(several or arms, key=lambda arm: mean(arm, "quality") if higher else -mean(arm, "quality"))
    apart = {name for one in differences if one.measure == "quality" and one.shown and best.name in (one.arm, one.over)
             for name in (one.arm, one.over)}
    equals = [arm for arm in arms if arm is not best and arm.name not in apart]
    advised = min([best, *equals], key=lambda arm: mean(arm, "time"))
    return Choice(best=best.name, equals=tuple(arm.name for arm in equals), advised=advised.name)
