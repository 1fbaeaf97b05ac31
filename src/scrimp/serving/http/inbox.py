"""From the worker's thread to a request: what is told arrives in order, and whoever has gone is not answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request

from scrimp.core.progress import warn
from scrimp.serving.http.problems import as_refusal
from scrimp.serving.worker import Ended, Event, Failed, Piece

__all__ = ["Gone", "Inbox", "unless_gone"]

T = TypeVar("T")


class Gone(Exception):
    """Whoever asked has closed the connection."""


class Inbox:
    """What one job tells, for the event loop that it is made in."""

    def __init__(self) -> None:
        self._loop, self._events = asyncio.get_running_loop(), asyncio.Queue[Event]()

    def tell(self, event: Event) -> None:
        """Called in the worker's thread."""
        with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def next(self) -> Event:
        """The next event.

        Raises:
            Refusal: for one that says that nothing more comes.
        """
        event = await self._events.get()
        if isinstance(event, Failed):
            refusal = as_refusal(event.error)
            if refusal.status == 500:
                warn(f"an answer failed: {type(event.error).__name__}: {event.error}")
            raise refusal
        return event

    async def written(self, answers: int) -> AsyncIterator[Piece | Ended]:
        """Pieces and ends until all answers have ended.

        Raises:
            Refusal: see `next`.
        """
        while answers:
            event = await self.next()
            assert isinstance(event, Piece | Ended)
            answers -= isinstance(event, Ended)
            yield event


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What is worked out, unless whoever asked closes the connection before.

    Raises:
        Gone: then.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
