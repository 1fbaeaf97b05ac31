"""What a person sees while they wait: a bar with time left on a terminal, plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Bar", "bar", "console", "quiet", "say", "track", "warn"]

T = TypeVar("T")
_QUIET_S = 2.0  # nothing is shown for what is over sooner
_LINE_EVERY_S = 15.0  # without a terminal


@lru_cache(maxsize=1)
def console() -> Console:
    """The console on standard error; standard output is for results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line of news."""
    console().print(text, markup=False)


def warn(text: str) -> None:
    """One line that should not be missed."""
    console().print(f"warning: {text}", style="yellow", markup=False)


@contextmanager
def quiet() -> Iterator[None]:
    """No news, warnings or bars within the block: for work that is repeated many times, and looked at as a whole."""
    was, console().quiet = console().quiet, True
    try:
        yield
    finally:
        console().quiet = was


class Bar(Protocol):
    """A running count."""

    def advance(self, by: float = 1, note: str = "") -> None:
        """Count on by ``by``; ``note`` is shown beside the count."""


class _Lines:
    """Plain lines: one after two seconds, then one every fifteen."""

    def __init__(self, what: str, total: float | None) -> None:
        self._what, self._total, self._done = what, total, 0.0
        self._start = time.monotonic()
        self._next = self._start + _QUIET_S

    def advance(self, by: float = 1, note: str = "") -> None:
        self._done += by
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LINE_EVERY_S
            say(f"{self._what}: {self._share(now)}{' · ' + note if note else ''}")

    def _share(self, now: float) -> str:
        if not self._total:
            return f"{self._done:.0f}"
        left = (now - self._start) * (self._total / max(self._done, 1e-9) - 1)
        return f"{self._done:.0f}/{self._total:.0f}, {left:.0f} s left"


class _Rich:
    """A bar on the terminal, drawn once it has lasted two seconds."""

    def __init__(self, what: str, total: float | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                  TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console(),
                                  transient=True)
        self._task = self._progress.add_task(what, total=total, note="")
        self._start, self._shown = time.monotonic(), False

    def advance(self, by: float = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=by, note=note)
        if not self._shown and time.monotonic() - self._start > _QUIET_S:
            self._shown = True
            self._progress.start()

    def stop(self) -> None:
        if self._shown:
            self._progress.stop()


@contextmanager
def bar(what: str, total: float | None = None) -> Iterator[Bar]:
    """A bar to advance by hand."""
    if not sys.stderr.isatty():
        yield _Lines(what, total)
        return
    shown = _Rich(what, total)
    try:
        yield shown
    finally:
        shown.stop()


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar."""
    with bar(what, len(items) if total is None and isinstance(items, Sized) else total) as shown:
        for item in items:
            yield item
            shown.advance()
