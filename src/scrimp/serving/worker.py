"""One thread that owns the models: what is asked waits in a bounded queue, and answers are told piece by piece."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scrimp.core.errors import BudgetError, ScrimpError
from scrimp.serving.continuous import Finish, Row, RunningBatch, Wish
from scrimp.serving.hosting import Host
from scrimp.serving.replies import Reply

__all__ = ["Answered", "Busy", "Call", "Ended", "Failed", "Generation", "Job", "Late", "Piece", "Stopping",
           "Tally", "Worker"]

_PROMPT_TOKENS = 2048  # that are read between two tokens of those who are being answered
_CALL_ROWS = 16  # of one kind that are computed between two tokens
_RECENT = 32  # places whose leaving tells how soon there is room


class Busy(BudgetError):
    """The queue is full, or the server is stopping.

    Attributes:
        after_s: seconds until there may be room, as far as can be told.
    """

    after_s = 1.0


class Stopping(Busy):
    """Nothing more is taken."""


class Late(BudgetError):
    """The time for an answer is over."""


@dataclass(frozen=True)
class Piece:
    """More text of one answer."""

    answer: int
    text: str


@dataclass(frozen=True)
class Ended:
    """The last text of one answer, why it ended, and how many tokens it has."""

    answer: int
    text: str
    reason: Finish
    tokens: int


@dataclass(frozen=True)
class Answered:
    """What a call gave, one result a row."""

    results: list[Any]


@dataclass(frozen=True)
class Failed:
    """Nothing more comes."""

    error: Exception


Event = Piece | Ended | Answered | Failed


@dataclass(eq=False)
class Job:
    """Something asked for.

    Attributes:
        tell: called in the worker's thread, with what there is to say.
        deadline: on the monotonic clock, in seconds.
        over: set by whoever lost interest, and when nothing more is told.
    """

    tell: Callable[[Event], None]
    deadline: float
    over: bool = field(default=False, init=False)

    def end(self, event: Event) -> None:
        """Tell the last of it, once."""
        if not self.over:
            self.over = True
            self.tell(event)


@dataclass(eq=False)
class Generation(Job):
    """Answers that are written: one for each wish, told as pieces and ends."""

    host: Host
    wishes: Sequence[Wish]
    stops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.left = len(self.wishes)

    @property
    def size(self) -> int:
        """Places in the queue."""
        return len(self.wishes)


@dataclass(eq=False)
class Call(Job):
    """Rows that are computed with others of the same ``key``, by the function of whoever is first."""

    key: Hashable
    compute: Callable[[list[Any]], list[Any]]
    rows: Sequence[Any]
    size = 1

    def __post_init__(self) -> None:
        self.done: list[Any] = []


@dataclass
class Tally:
    """What the worker has done."""

    steps: int = 0
    step_rows: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0


@dataclass(eq=False)
class _Running:
    job: Generation
    answer: int
    reply: Reply


class Worker:
    """Does what is submitted, in turns: new rows join, every row gets a token, one batch of calls is computed.

    Args:
        hosts: the models.
        queue: rows and calls that may wait.
        clock: seconds, monotonic.
    """

    def __init__(self, hosts: Iterable[Host], *, queue: int = 128, clock: Callable[[], float] = time.monotonic) -> None:
        self._batches: dict[Host, RunningBatch] = {host: host.batch for host in hosts if host.batch is not None}
        self._waiting: dict[Host, deque[tuple[Generation, int]]] = {host: deque() for host in self._batches}
        self._calls: deque[Call] = deque()
        self._running: dict[Row, _Running] = {}
        self._queue, self._clock = queue, clock
        self._news, self._stopping, self._working = threading.Condition(), False, False
        self._left = deque[float](maxlen=_RECENT)  # when places became free
        self.tally = Tally()
        self._thread = threading.Thread(target=self._work, name="scrimp-worker", daemon=True)

    @property
    def waiting(self) -> int:
        """Rows and calls that wait."""
        return len(self._calls) + sum(map(len, self._waiting.values()))

    @property
    def active(self) -> int:
        """Rows that are being answered."""
        return len(self._running)

    @property
    def cache_bytes(self) -> int:
        """Of keys and values that are held."""
        return sum(batch.cache_bytes for batch in self._batches.values())

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Generation | Call) -> None:
        """Have something done.

        Raises:
            Busy: if the queue has no room.
            Stopping: if nothing more is taken.
        """
        with self._news:
            if self._stopping:
                raise Stopping("the server is stopping")
            if self.waiting + job.size > self._queue:
                raise self._busy(self.waiting + job.size - self._queue)
            if isinstance(job, Call):
                self._calls.append(job)
            else:
                self._waiting[job.host].extend((job, answer) for answer in range(job.size))
            self._news.notify()

    def _busy(self, wanting: int) -> Busy:
        """What is said when so many places are wanting; they come as those before came."""
        busy = Busy("too many requests are waiting", why=f"{self._queue} places are taken", fix="ask again soon")
        if self._left:
            busy.after_s = wanting * (self._clock() - self._left[0]) / len(self._left)
        return busy

    def stop(self, *, wait_s: float) -> bool:
        """Take nothing more, and finish what there is within so many seconds; whether that was enough."""
        with self._news:
            self._stopping = True
            self._news.notify()
        ends = self._clock() + wait_s
        while self._thread.is_alive() and self._clock() < ends:
            self._thread.join(0.05)
        finished = not self._thread.is_alive()
        if not finished:
            self._end_all(Stopping("the server has stopped"))
            self._thread.join(1.0)
        return finished

    def turn(self) -> bool:
        """One round; whether there was anything to do."""
        before = self.waiting + self.active
        self._end_late()
        for host, batch in self._batches.items():
            self._guarded(host, batch)
        self._call()
        return before > 0

    def _work(self) -> None:
        while True:
            with self._news:
                while not (self.waiting or self.active):
                    if self._stopping:
                        return
                    self._news.wait()
            self.turn()

    def _guarded(self, host: Host, batch: RunningBatch) -> None:
        """Admit and step; a failure ends the rows of this model and nothing else."""
        try:
            self._admit(host, batch)
            stepped = batch.step()
            self.tally.steps += bool(stepped)
            self.tally.step_rows += len(stepped)
            for row in stepped:
                self._told(row, batch)
        except Exception as error:
            batch.clear()
            for row in [row for row, running in self._running.items() if running.job.host is host]:
                self._running.pop(row).job.end(Failed(error))

    def _admit(self, host: Host, batch: RunningBatch) -> None:
        chosen, tokens = list[tuple[Generation, int]](), 0
        with self._news:
            waiting = self._waiting[host]
            while waiting and len(chosen) < batch.free:
                job, answer = waiting[0]
                tokens += len(job.wishes[answer].prompt)
                if chosen and tokens > _PROMPT_TOKENS:
                    break
                waiting.popleft()
                self._left.append(self._clock())
                if not job.over:
                    chosen.append((job, answer))
        if not chosen:
            return
        try:
            rows = batch.admit([job.wishes[answer] for job, answer in chosen])
        except Exception as error:
            for job, _ in chosen:
                job.end(Failed(error))
            raise
        self.tally.prompt_tokens += sum(len(row.wish.prompt) for row in rows)
        for row, (job, answer) in zip(rows, chosen, strict=True):
            self._running[row] = _Running(job, answer, Reply(host.loaded.tokenizer, job.stops))
            self._told(row, batch)

    def _told(self, row: Row, batch: RunningBatch) -> None:
        """Say what a row's last token brings."""
        running = self._running[row]
        self.tally.new_tokens += 1
        text = running.reply.add(row.made[-1]) if row.finish != "stop" and row.made else ""
        reason: Finish | None = "stop" if running.reply.stopped else row.finish
        if running.job.over:
            self._leave(row, batch)
        elif reason is None:
            if text:
                running.job.tell(Piece(running.answer, text))
        else:
            self._leave(row, batch)
            self._ended(running, text + running.reply.end(), reason, len(row.made))

    def _ended(self, running: _Running, text: str, reason: Finish, tokens: int) -> None:
        job = running.job
        if reason == "failed":
            job.end(Failed(ScrimpError("the model's logits are no numbers")))
            return
        job.left -= 1
        job.tell(Ended(running.answer, text, reason, tokens))
        job.over = job.over or job.left == 0

    def _leave(self, row: Row, batch: RunningBatch) -> None:
        self._running.pop(row, None)
        batch.drop(row)

    def _end_late(self) -> None:
        """Whoever has waited too long is told so, and whoever has gone gives up his place."""
        now, late = self._clock(), Late("the time for this request is over")
        with self._news:
            for waiting in self._waiting.values():
                kept = [(job, answer) for job, answer in waiting if not self._is_over(job, now, late)]
                waiting.clear()
                waiting.extend(kept)
            self._calls = deque(call for call in self._calls if not self._is_over(call, now, late))
        for row, running in list(self._running.items()):
            if self._is_over(running.job, now, late):
                self._leave(row, self._batches[running.job.host])

    @staticmethod
    def _is_over(job: Job, now: float, late: Late) -> bool:
        if now > job.deadline:
            job.end(Failed(late))
        return job.over

    def _call(self) -> None:
        """Compute some rows of the first call, and of those that wait behind it and are of its kind."""
        with self._news:
            if not self._calls:
                return
            alike = [call for call in self._calls if call.key == self._calls[0].key]
        parts, room = list[tuple[Call, Sequence[Any]]](), _CALL_ROWS
        for call in alike:
            parts.append((call, call.rows[len(call.done):len(call.done) + room]))
            room -= len(parts[-1][1])
        try:
            found = alike[0].compute([row for _, part in parts for row in part])
            for call, part in parts:
                call.done += found[:len(part)]
                found = found[len(part):]
                if len(call.done) == len(call.rows):
                    call.end(Answered(call.done))
        except Exception as error:
            for call in alike:
                call.end(Failed(error))
        with self._news:
            self._left.extend(self._clock() for call in self._calls if call.over)
            self._calls = deque(call for call in self._calls if not call.over)

    def _end_all(self, error: Busy) -> None:
        with self._news:
            jobs: list[Job] = [*self._calls, *(job for waiting in self._waiting.values() for job, _ in waiting)]
            self._calls.clear()
            for waiting in self._waiting.values():
                waiting.clear()
        for job in [*jobs, *(running.job for running in list(self._running.values()))]:
            job.end(Failed(error))
