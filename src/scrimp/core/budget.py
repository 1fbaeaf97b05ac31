"""What a run may cost, what is left of it, and what it did cost.

`Budget` is the declaration, `Meter` the clock that enforces it, `Bill` the account at the end. Selection, search,
evaluation and training are all charged to the same meter, so the bill is of the whole run.
"""

from __future__ import annotations

import math
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from scrimp.core.errors import BudgetError
from scrimp.core.options import Bytes, Options, Seconds

__all__ = ["Bill", "Budget", "Meter", "Moment", "resident_bytes"]


_OF_THIS_PROCESS = Path("/proc/self/stat")
_STARTED_AT = 19  # which number there, behind the program's name, tells when the process was started
_TICK_S, _LONGEST_START_S = 0.02, 300.0  # of the clock that tells it; what would be longer is not believed


class Budget(Options):
    """What may be spent. What is not declared is not limited.

    Attributes:
        time: wall-clock seconds, start to end.
        memory: resident bytes of the process at their highest.
        tokens: tokens trained on (forward and backward).
        disk: bytes that the workspace may hold.
        teacher_tokens: tokens that language models which write examples or answers read and write.
    """

    time: Seconds | None = None
    memory: Bytes | None = None
    tokens: int | None = None
    disk: Bytes | None = None
    teacher_tokens: int | None = None


class Bill(Options):
    """What was spent: seconds, tokens, floating-point operations (estimated) and resident bytes at their highest.

    Of a teacher, the tokens that it read are told apart from those that it wrote, which are dearer.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    tokens_forward: int = 0
    tokens_backward: int = 0
    flops: float = 0.0
    peak_memory: int = 0
    teacher_prompt_tokens: int = 0
    teacher_completion_tokens: int = 0

    def __add__(self, other: Bill) -> Bill:
        """Both bills together; of the memory, the larger."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        return Bill(**{**sums, "peak_memory": max(self.peak_memory, other.peak_memory)})

    def less(self, part: Bill, *, peak: int) -> Bill:
        """Without a part of it, and with the memory that the rest had at its highest."""
        rest = {name: max(getattr(self, name) - getattr(part, name), 0) for name in type(self).model_fields}
        return Bill(**{**rest, "peak_memory": peak})


def resident_bytes() -> int:
    """Resident memory of this process now, in bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:  # no /proc: the high-water mark is the best there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _MemoryWatch:
    """Samples resident memory in the background, so that a part's own peak is known and not the process's."""

    def __init__(self, interval_s: float = 0.05) -> None:
        self._interval_s, self._open, self._lock = interval_s, set[int](), threading.Lock()
        self._peaks: dict[int, int] = {}
        self._thread: threading.Thread | None = None

    def start(self, key: int) -> None:
        with self._lock:
            self._peaks[key] = resident_bytes()
            self._open.add(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._sample, daemon=True, name="scrimp-memory")
                self._thread.start()

    def stop(self, key: int) -> None:
        self.peak(key)
        with self._lock:
            self._open.discard(key)

    def peak(self, key: int) -> int:
        with self._lock:
            if key in self._open:
                self._peaks[key] = max(self._peaks[key], resident_bytes())
            return self._peaks.get(key, 0)

    def _sample(self) -> None:
        while True:
            time.sleep(self._interval_s)
            now = resident_bytes()
            with self._lock:
                for key in self._open:
                    self._peaks[key] = max(self._peaks[key], now)
                if not self._open:
                    self._thread = None
                    return


_WATCH = _MemoryWatch()


@dataclass(frozen=True)
class Moment:
    """When something began.

    Attributes:
        wall: seconds on the monotonic clock.
        cpu: seconds that this process had worked.
    """

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Self:
        """This moment."""
        return cls(time.monotonic(), time.process_time())

    @classmethod
    def of_start(cls) -> Self:
        """When this process was started, as far as the system tells it; else, or if that cannot be, this moment."""
        now = cls.now()
        try:
            ticks = int(_OF_THIS_PROCESS.read_text(encoding="utf-8").rpartition(")")[2].split()[_STARTED_AT])
            ran_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError, ValueError, IndexError):
            return now
        return cls(now.wall - ran_s, 0.0) if now.cpu <= ran_s + _TICK_S and ran_s <= _LONGEST_START_S else now


@dataclass
class Meter:
    """A running clock over a budget.

    Args:
        budget: what may be spent; none means no limit.
        before: what earlier, killed attempts at the same work have spent already.
        parent: the meter of which this is a part.
        since: when the work was asked for, if that was before now.
    """

    budget: Budget = field(default_factory=Budget)
    before: Bill = field(default_factory=Bill)
    parent: Meter | None = None
    since: Moment = field(default_factory=Moment.now)

    def __post_init__(self) -> None:
        self._charged = Bill()
        self._closed: Bill | None = None
        _WATCH.start(id(self))

    def elapsed_s(self) -> float:
        """Wall seconds spent, earlier attempts included."""
        return self.before.wall_s + time.monotonic() - self.since.wall

    def remaining_s(self) -> float:
        """Wall seconds left of the tightest time budget above this part; infinite if none is declared."""
        own = math.inf if self.budget.time is None else self.budget.time - self.elapsed_s()
        return min(own, self.parent.remaining_s()) if self.parent else own

    def out_of(self, seconds: float = 0.0) -> str | None:
        """Which budget would be broken by ``seconds`` more of the same work, or None."""
        if self.remaining_s() <= seconds:
            return "time"
        if self.budget.tokens is not None and self.bill().tokens_backward >= self.budget.tokens:
            return "tokens"
        if self.budget.memory is not None and resident_bytes() > self.budget.memory:
            return "memory"
        return self.parent.out_of(seconds) if self.parent else None

    def require(self, seconds: float, what: str) -> None:
        """Raise a BudgetError unless ``seconds`` are left for ``what``."""
        if (left := self.remaining_s()) < seconds:
            raise BudgetError(f"{what} needs about {seconds:.0f} s; {max(left, 0):.0f} s of the time budget are left",
                              fix="declare a longer --budget or use less data")

    def charge(self, *, tokens_forward: int = 0, tokens_backward: int = 0, flops: float = 0.0) -> None:
        """Put work on the bill, here and on every part that this one belongs to."""
        self._charged += Bill(tokens_forward=tokens_forward, tokens_backward=tokens_backward, flops=flops)
        if self.parent:
            self.parent.charge(tokens_forward=tokens_forward, tokens_backward=tokens_backward, flops=flops)

    def teacher_tokens_left(self) -> float:
        """Tokens left of the tightest budget of teacher tokens above this part; infinite if none is declared."""
        bill, limit = self.bill(), self.budget.teacher_tokens
        own = math.inf if limit is None else limit - bill.teacher_prompt_tokens - bill.teacher_completion_tokens
        return min(own, self.parent.teacher_tokens_left()) if self.parent else own

    def charge_teacher(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Put what a teacher read and wrote on the bill, here and on every part that this one belongs to."""
        self._charged += Bill(teacher_prompt_tokens=prompt_tokens, teacher_completion_tokens=completion_tokens)
        if self.parent:
            self.parent.charge_teacher(prompt_tokens, completion_tokens)

    def bill(self) -> Bill:
        """Everything spent until now, or until the part was closed."""
        if self._closed is not None:
            return self._closed
        clock = Bill(wall_s=time.monotonic() - self.since.wall, cpu_s=time.process_time() - self.since.cpu,
                     peak_memory=_WATCH.peak(id(self)))
        return self.before + self._charged + clock

    def close(self) -> Bill:
        """Stop the clock of this meter for good."""
        self._closed = self.bill()
        _WATCH.stop(id(self))
        return self._closed

    @contextmanager
    def part(self, budget: Budget | None = None, before: Bill | None = None) -> Iterator[Meter]:
        """A step with a bill of its own inside this one; its memory peak is its own too."""
        inner = Meter(budget or Budget(), before or Bill(), parent=self)
        try:
            yield inner
        finally:
            inner.close()
