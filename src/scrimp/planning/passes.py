"""What a pass over rows will take here: some of them are passed over for a moment, and the whole is foreseen.

The time of N rows with W workers is ``start + N prepare + N compute / W``: a worker loads the model and begins (start);
one process reads, addresses and deals out the rows (prepare); the workers share the batches (compute).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from scipy import stats

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.core.progress import quiet
from scrimp.core.workspace import fingerprint
from scrimp.examples.records import input_text
from scrimp.planning.ways import Estimate, Way

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals.passes import Found, Pass

__all__ = ["SIGNALS", "Asked", "Pace", "foreseen", "probe"]

Row = TypeVar("Row")
_FIRST = 8  # rows of the first moment, which warms up
_LEAST_GROWTH, _GROWTH = 1.5, 4.0  # how much larger the next moment is, if there is time for one
_BATCHES, _PATIENCE = 3, 4.0  # that must be timed, in at most so many times the seconds that were allowed
_ROW_BYTES, _HEADER_BYTES = 16 + 8 + 1, 4 * 128  # of each row its key, where its lines begin, and that they are done
_SURE = 0.975  # of each side, for 95 % intervals


@dataclass(frozen=True)
class Pace:
    """What a moment of a pass showed.

    Attributes:
        start_s: before the first row; without what a machine does once only, such as compiling.
        prepare_s: of each row, in the one process that deals them out.
        compute_s: of each row, in a worker.
        doubt: half the 95 % interval of that, as a share of it; None if fewer than two batches were timed.
        row_bytes: that the answer of a row takes.
        rows, batches: that this was measured on.
    """

    start_s: float
    prepare_s: float
    compute_s: float
    doubt: float | None
    row_bytes: float
    rows: int
    batches: int

    def seconds(self, rows: int, workers: int) -> Estimate:
        """For so many rows and workers."""
        shared = rows * self.compute_s / workers
        value = self.start_s + rows * self.prepare_s + shared
        if self.doubt is None:
            return Estimate(value=value)
        return Estimate(value=value, low=value - min(self.doubt, 1.0) * shared, high=value + self.doubt * shared)

    def disk(self, rows: int) -> int:
        """Bytes of the answers to so many rows."""
        return round(_HEADER_BYTES + rows * self.row_bytes)


@dataclass
class _Clock:
    """The engine of this process, with a clock; batches come in an order by chance.

    Attributes:
        tokens, seconds: of each batch.
    """

    chance: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __call__(self, work: Pass[Any], batches: Sequence[Sequence[Any]]) -> Generator[tuple[int, Found]]:
        from scrimp.signals.passes import local

        order = self.chance.permutation(len(batches)).tolist()
        began = time.perf_counter()
        for number, found in local(work, [batches[i] for i in order]):
            self.seconds.append(time.perf_counter() - began)
            self.tokens.append(found.tokens_forward)
            yield order[number], found
            began = time.perf_counter()


@dataclass(frozen=True)
class _Moment(Generic[Row]):
    """A pass over some rows, timed."""

    work: Pass[Row]
    rows: Sequence[Row]
    whole_s: float
    clock: _Clock

    def pace(self, loading_s: float) -> Pace:
        """The first batch has what a pass begins with, so that it does not count if there are others."""
        counted = slice(1 if len(self.clock.seconds) > 1 else 0, None)
        seconds, tokens = np.array(self.clock.seconds[counted]), np.array(self.clock.tokens[counted])
        each, lengths = seconds.sum() / tokens.sum(), np.array(self.work.lengths(self.rows))
        prepare_s = (self.whole_s - sum(self.clock.seconds)) / len(self.rows)
        compute_s = float(each * lengths.mean())
        begins_s = max(self.clock.seconds[0] - float(each) * self.clock.tokens[0], 0.0)
        lines = sum(map(self.work.lines, self.rows)) / len(self.rows)
        return Pace(start_s=loading_s + begins_s, prepare_s=prepare_s, compute_s=compute_s,
                    doubt=_doubt(seconds, tokens, lengths), row_bytes=_ROW_BYTES + 4 * self.work.width * lines,
                    rows=len(self.rows), batches=len(self.clock.seconds))


def _doubt(seconds: np.ndarray, tokens: np.ndarray, lengths: np.ndarray) -> float | None:
    """Of seconds a token, a ratio over batches, and of tokens a row, a mean over rows: both relative, and summed up."""
    if (count := len(seconds)) < 2:
        return None
    apart = seconds - seconds.sum() / tokens.sum() * tokens
    ratio = stats.t.ppf(_SURE, count - 1) * math.sqrt(float((apart**2).sum()) / (count * (count - 1))) / seconds.mean()
    mean = stats.norm.ppf(_SURE) * lengths.std(ddof=1) / math.sqrt(len(lengths)) / lengths.mean()
    return float(math.hypot(ratio, mean))


def probe(work: Pass[Row], rows: int, given: Callable[[list[int]], Sequence[Row]], *, seconds: float, seed: int,
          loading_s: float = 0.0, meter: Meter | None = None) -> Pace:
    """Pass over ever more rows, drawn by chance, until it has taken about so many seconds; the last moment counts.

    Args:
        work: the pass.
        rows: how many there are.
        given: rows by their numbers, as the pass reads them; what that takes is part of preparing them.
        seconds: that may be taken.
        seed: of the draw.
        loading_s: what the model took to load.
        meter: what is charged.

    Raises:
        DataError: if there are no rows.
    """
    if not rows:
        raise DataError("there is no row to measure with")
    chance = np.random.default_rng(seed)
    order, size = chance.permutation(rows).tolist(), min(_FIRST, rows)
    _timed(work, given, order[:size], chance, meter)
    began = time.perf_counter()
    while True:
        found = _timed(work, given, order[:size], chance, meter)
        pace, spent = found.pace(loading_s), time.perf_counter() - began
        few = pace.batches < _BATCHES and spent < _PATIENCE * seconds
        growth = min(_GROWTH, (seconds - spent) / (size * (pace.prepare_s + pace.compute_s)))
        if size == rows or max(growth, 2.0 if few else 0.0) < _LEAST_GROWTH:
            return pace
        size = min(int(max(growth, _LEAST_GROWTH) * size), rows)


def _timed(work: Pass[Row], given: Callable[[list[int]], Sequence[Row]], numbers: list[int],
           chance: np.random.Generator, meter: Meter | None) -> _Moment[Row]:
    from scrimp.signals.passes import run

    clock, began = _Clock(chance), time.perf_counter()
    rows = given(numbers)
    for row in rows:
        fingerprint([work.content(row)])  # by which an answer is kept
    with quiet():
        run(work, rows, meter=meter, engine=clock)
    return _Moment(work, rows, time.perf_counter() - began, clock)


@dataclass(frozen=True)
class Asked:
    """Which pass is meant, where there is a choice.

    Attributes:
        encoder, model: names of the models that look at rows.
        parameters, width, seed: of gradients; see `GradientPass`.
        seconds: for each signal's moment.
    """

    encoder: str
    model: str
    parameters: str
    width: int
    seed: int
    seconds: float


def _embeddings(rows: Examples, asked: Asked, meter: Meter) -> Pace:
    from scrimp.checkpoints.loading import load, resolve
    from scrimp.signals.embeddings import EmbeddingPass

    began = time.perf_counter()
    work = EmbeddingPass(load(resolve(asked.encoder), dtype="float32"))
    return probe(work, len(rows), lambda numbers: [input_text(rows[i]) for i in numbers], seconds=asked.seconds,
                 seed=asked.seed, loading_s=time.perf_counter() - began, meter=meter)


def _losses(rows: Examples, asked: Asked, meter: Meter) -> Pace:
    from scrimp.signals.losses import LossPass

    return _of_language(rows, asked, meter, LossPass)


def _gradients(rows: Examples, asked: Asked, meter: Meter) -> Pace:
    from scrimp.signals.gradients import GradientPass

    return _of_language(rows, asked, meter,
                        lambda model: GradientPass(model, asked.parameters, asked.width, asked.seed))


def _of_language(rows: Examples, asked: Asked, meter: Meter, made: Callable[[Any], Pass[Any]]) -> Pace:
    from scrimp.signals import Signals

    signals, began = Signals(model=asked.model), time.perf_counter()
    loaded = signals.language()
    return probe(made(loaded.model), len(rows), lambda numbers: signals.encoded(rows.subset(numbers), loaded),
                 seconds=asked.seconds, seed=asked.seed, loading_s=time.perf_counter() - began, meter=meter)


#: what can be foreseen of a signal, by its name
SIGNALS: dict[str, Callable[[Examples, Asked, Meter], Pace]] = {
    "embeddings": _embeddings, "losses": _losses, "gradients": _gradients}


def foreseen(name: str, pace: Pace, rows: int, workers: int) -> Way:
    """What a signal of so many rows would cost."""
    basis = (f"{1 / pace.compute_s:,.4g} rows/s a worker, {1e3 * pace.prepare_s:.3f} ms to prepare a row, "
             f"{pace.start_s:.1f} s to begin, as measured on {pace.rows} rows (batches: {pace.batches})")
    return Way(name=name, seconds=pace.seconds(rows, workers), disk=pace.disk(rows), basis=basis)
