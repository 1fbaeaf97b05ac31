"""Who listens while something is trained: a training tells its numbers, and does not know who hears them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol

from scrimp.core.errors import WorkspaceError
from scrimp.core.ledger import Ledger

__all__ = ["Listener", "Written", "listening", "tell", "within"]


class Listener(Protocol):
    """Hears the numbers of step ``step`` of the training named ``training``; it must not raise, nor take long."""

    def __call__(self, training: str, step: int, numbers: Mapping[str, float]) -> None: ...


_LISTENERS: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())
_TRAINING: ContextVar[str | None] = ContextVar("training", default=None)


def listening(listener: Listener) -> AbstractContextManager[None]:
    """Within the block ``listener`` hears what named trainings tell, as do those that listen around it."""
    return _being(_LISTENERS, (*_LISTENERS.get(), listener))


def within(training: str) -> AbstractContextManager[None]:
    """Within the block what is told is of this training; what nobody named, such as a trial, is not heard."""
    return _being(_TRAINING, training)


@contextmanager
def _being(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


def tell(step: int, **numbers: float) -> None:
    """Tell the numbers of a step; costs nothing where nobody listens."""
    training = _TRAINING.get()
    if training is not None:
        for listener in _LISTENERS.get():
            listener(training, step, numbers)


class Written:
    """A listener that writes a line a second into a ledger, for whoever follows a run while it lasts."""

    def __init__(self, ledger: Ledger, *, every_s: float = 1.0) -> None:
        self._ledger, self._every_s, self._next = ledger, every_s, 0.0

    def __call__(self, training: str, step: int, numbers: Mapping[str, float]) -> None:
        """Write a validation in any case, and of other steps the first after each second."""
        now = time.monotonic()
        if "validation" not in numbers and now < self._next:
            return
        self._next = now + self._every_s
        with suppress(WorkspaceError):  # what the run needs is written by itself, and is missed if it cannot be
            self._ledger.write("step", training=training, step=step, **numbers)
