"""What twice the labels would buy: the learning curve of a winner that is cheap to fit, and a law of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.core.interrupts import stop_if_requested
from scrimp.core.registry import build
from scrimp.evaluation.outcome import Outlook, Score
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
    if way.kind != "control" or not run.train.labels or found is None or not metric.higher_is_better:
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
    (least, most), rows = metric.bounds, len(run.train)
    unseen = 0.5 * (most - least) / found.n  # an error that was not seen is counted as half of one
    law = build("curve", "learning-curve").fit([Point({"rows": size}, max(most - value, unseen))
                                                for size, value in measured], seed=run.request.seed)
    there = law.predict({"rows": 2 * rows})
    value, low, high = (max(most - error, least) for error in (there.value, there.high, there.low))
    return Outlook(rows=rows, twice=2 * rows, measured=tuple(measured), now=most - law.predict({"rows": rows}).value,
                   then=Score(metric=run.metric, value=value, low=low, high=high, n=found.n))


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
                if len({row["label"] for row in rows.rows}) < 2:
                    break
                tested = run.train.subset(judge).rows
                said += way.fit(rows, run.folder / "parts" / "outlook", meter).predict(tested, meter=meter)
                judged += tested
            else:
                yield size, metric.measure(said, judged).value
