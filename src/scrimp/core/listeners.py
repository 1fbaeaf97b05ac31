"""Who listens while something is trained: a training tells its numbers, and does not know whether they are heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

__all__ = ["Listener", "listening", "tell", "within"]


class Listener(Protocol):
    """Hears the numbers of step ``step`` of the training named ``training``; it must not raise, nor take long."""

    def __call__(self, training: str, step: int, numbers: Mapping[str, float]) -> None: ...


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
_TRAINING: ContextVar[str | None] = ContextVar("training", default=None)


def listening(listener: Listener) -> AbstractContextManager[None]:
    """Within the block ``listener`` hears what named trainings tell."""
    return _being(_LISTENER, listener)


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
    listener, training = _LISTENER.get(), _TRAINING.get()
    if listener is not None and training is not None:
        listener(training, step, numbers)
