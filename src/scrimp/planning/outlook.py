"""What twice the labels would buy: the learning curve of a winner that is cheap to fit, and a law of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.core.interrupts import stop_if_requested
from scrimp.core.registry import build
from scrimp.evaluation.outcome import Outlook, Score
from scrimp.examples.records import Layout
from scrimp.planning.curves import Point
from scrimp.planning.timing import kept

if TYPE_CHECKING:
    from scrimp.evaluation.metrics import Metric
    from scrimp.planning.findings import Climbed
    from scrimp.planning.ladder import Run
    from scrimp.planning.protocol import Protocol
    from scrimp.planning.rungs import Rung as Way
    from scrimp.serving.predictors import Prediction

__all__ = ["MOST_PARTS", "outlook", "sizes"]

MOST_PARTS = 4  #: of the rows, of one size, that a head is fitted on
_SIZES = 5  # each half of the one before
_LEAST_ROWS, _LEAST_SIZES = 8, 3
_SHARE_OF_TIME = 0.25  # of what is left


def outlook(run: Run, way: Way, winner: Climbed, protocol: Protocol, meter: Meter) -> Outlook | None:
    """What the winner would score with twice the rows, as those that it was judged on tell it.

    It is fitted on halves, quarters and so on of the rows that it learned from, and each time judged on the same rows
    as before. None where that is not cheap (what is tuned), where there are too few rows or not enough time, or where
    the metric does not count errors.
    """
    metric, found = build("metric", run.metric), winner.record.validation
    if way.kind != "control" or way.asks or found is None or not _counts_errors(run, metric):
        return None
    allowed = _allowed(run)
    if not sizes(_learned(protocol), len(run.train.labels)) or (allowed.time or math.inf) < winner.record.bill.wall_s:
        return None
    try:
        with meter.part(allowed) as part:
            smaller = kept(run.folder / "outlook.json", lambda: [*_measured(run, way, protocol, metric, part)])
    except BudgetError:
        return None
    measured = [*((size, value) for size, value in smaller), (_learned(protocol), found.value)]
    if len({size for size, _ in measured}) < _LEAST_SIZES:  # parts of one label alone tell nothing
        return None
    rows, errors = len(run.train), _Errors.of(metric, [value for _, value in measured], found.n)
    law = build("curve", "learning-curve").fit([Point({"rows": size}, errors.of_value(value))
                                                for size, value in measured], seed=run.request.seed)
    there = law.predict({"rows": 2 * rows})
    value, *ends = (errors.value(error) for error in (there.value, there.low, there.high))
    now = errors.value(law.predict({"rows": rows}).value)
    return Outlook(rows=rows, twice=2 * rows, measured=tuple(measured), now=now,
                   then=Score(metric=run.metric, value=value, low=min(ends), high=max(ends), n=found.n,
                              higher_is_better=metric.higher_is_better))


@dataclass(frozen=True)
class _Errors:
    """A metric as an error: how far it is from its best value.

    Attributes:
        bounds: of the metric.
        higher: whether its best value is the higher one.
        unit: what errors are told in; those of a metric without bounds in the largest that was measured.
        unseen: an error that was not seen, in units.
    """

    bounds: tuple[float, float]
    higher: bool
    unit: float
    unseen: float

    @classmethod
    def of(cls, metric: Metric, values: Sequence[float], rows: int) -> _Errors:
        """Of these values, each on so many rows: of an error that was not seen half of one is counted."""
        (least, most), higher = metric.bounds, metric.higher_is_better
        if max(-least, most) < sys.float_info.max:
            return cls((least, most), higher, 1.0, 0.5 * (most - least) / rows)
        largest = max(abs((most if higher else least) - value) for value in values)
        return cls((least, most), higher, largest or 1.0, 0.5 / rows)

    def of_value(self, value: float) -> float:
        """The error that a value of the metric is, in units."""
        return max(abs(self.bounds[self.higher] - value) / self.unit, self.unseen)

    def value(self, error: float) -> float:
        """The value of the metric that an error, in units, is."""
        least, most = self.bounds
        return max(most - error * self.unit, least) if self.higher else min(least + error * self.unit, most)


def _counts_errors(run: Run, metric: Metric) -> bool:
    """Whether the metric tells how many labels are wrong, or how wrong scores are."""
    layout = run.train.layout
    return layout is Layout.SCORE or (layout.headed and metric.higher_is_better)


def _allowed(run: Run) -> Budget:
    """A share of the time that is left, if any was declared."""
    left = run.meter.remaining_s() - run.timing.closing_s
    return Budget() if math.isinf(left) else Budget(time=max(_SHARE_OF_TIME * left, 1e-3))


def _learned(protocol: Protocol) -> int:
    """Rows that each of those learned from whose judgement is known."""
    return min(len(learn) for learn, _ in protocol.parts)


def sizes(rows: int, labels: int) -> list[int]:
    """Of which sizes parts of so many rows are learned from, the smallest first; none if there are too few rows."""
    halved = [rows >> times for times in range(_SIZES - 1, -1, -1)]
    found = [size for size in halved if size >= max(_LEAST_ROWS, 2 * labels)]
    return found if len(found) >= _LEAST_SIZES else []


def _measured(run: Run, way: Way, protocol: Protocol, metric: Metric, meter: Meter) -> Iterator[tuple[int, float]]:
    """Rows and score of each part of each size but the whole, the smallest first.

    Raises:
        BudgetError: if the time is over.
    """
    order = np.random.default_rng(run.request.seed).permutation(len(run.train)).tolist()
    whole = _learned(protocol)
    for size in sizes(whole, len(run.train.labels))[:-1]:
        for number in range(min(MOST_PARTS, whole // size)):
            said: list[Prediction] = []
            judged: list[Any] = []
            for learn, judge in protocol.parts:
                within = set(learn)
                rows = run.train.subset([i for i in order if i in within][number * size:(number + 1) * size])
                stop_if_requested()
                if meter.remaining_s() <= 0:
                    raise BudgetError("there is no time to measure a learning curve")
                if len({str(row[run.train.layout]) for row in rows.rows}) < 2:
                    break
                tested = run.train.subset(judge).rows
                said += way.fit(rows, run.folder / "parts" / "outlook", meter).predict(tested, meter=meter)
                judged += tested
            else:
                yield size, metric.measure(said, judged).value
