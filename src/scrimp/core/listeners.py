"""Who listens while something is trained: a training tells its numbers, and does not know whether they are heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["Listener", "listening", "tell", "within"]


class Listener(Protocol):
    """Hears the numbers of step ``step`` of the training named ``training``; it must not raise, nor take long."""

    def __call__(self, training: str, step: int, numbers: Mapping[str, float]) -> None: ...


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
_TRAINING: ContextVar[str | None] = ContextVar("training", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block ``listener`` hears what named trainings tell."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


@contextmanager
def within(training: str) -> Iterator[None]:
    """Within the block what is told is of this training; what nobody named, such as a trial, is not heard."""
    before = _TRAINING.set(training)
    try:
        yield
    finally:
        _TRAINING.reset(before)


def tell(step: int, **numbers: float) -> None:
    """Tell the numbers of a step; costs nothing where nobody listens."""
    listener, training = _LISTENER.get(), _TRAINING.get()
    if listener is not None and training is not None:
        listener(training, step, numbers)
