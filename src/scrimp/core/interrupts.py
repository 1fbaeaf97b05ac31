"""Ctrl-C that saves: the first is noted, and the loop stops at its next step; the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from scrimp.core.errors import Stopped
from scrimp.core.progress import say

__all__ = ["graceful", "stop_if_requested", "stop_requested"]

_requested = threading.Event()


def stop_requested() -> bool:
    """Whether a person asked to stop."""
    return _requested.is_set()


def stop_if_requested() -> None:
    """Raise Stopped if a person asked to stop; called where everything so far is saved."""
    if stop_requested():
        raise Stopped("stopped as asked; everything up to here is saved", fix="the same command continues from here")


@contextmanager
def graceful() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM ask the loop to stop at its next step, saved; a second interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        if _requested.is_set():
            raise KeyboardInterrupt
        _requested.set()
        say("stopping at the next step, saved; once more to stop at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requested.clear()
