"""The endpoint as a process: a socket, a key from the environment, and a stop that finishes what was begun."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from scrimp.core.errors import OptionError
from scrimp.serving.http.gate import App

__all__ = ["Address", "key_from", "listening", "serve"]

_SHORTEST_KEY = 16
_MORE_CONNECTIONS = 256  # than there is room for requests: those that are refused, and those that look at numbers


@dataclass(frozen=True)
class Address:
    """Where a socket listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """For a browser or a client."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def key_from(variable: str | None) -> str | None:
    """The key in an environment variable; None where none is named.

    Raises:
        OptionError: if it is not set, too short to be a secret, or no key at all.
    """
    if variable is None:
        return None
    found = os.environ.get(variable, "").strip()
    if len(found) < _SHORTEST_KEY or not found.isascii() or not found.isprintable():
        raise OptionError(f"holds no key of at least {_SHORTEST_KEY} printable characters", where=variable,
                          fix=f"export {variable}=$(openssl rand -hex 32)")
    return found


def listening(host: str, port: int) -> tuple[socket.socket, Address]:
    """A socket that listens; port 0 takes a free one.

    Raises:
        OptionError: if it cannot.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(2048)
    except OSError as error:
        raise OptionError("cannot listen there", where=f"{host} port {port}", why=error.strerror or str(error),
                          fix="give another --port, or 0 for a free one") from None
    return made, Address(host, made.getsockname()[1])


def serve(app: App, made: socket.socket, *, requests: int, drain_s: float, ready: Callable[[], None],
          sockets: bool = False) -> None:
    """Answer until SIGTERM or SIGINT; then take nothing new, and finish what was begun within ``drain_s`` seconds.

    Args:
        requests: for which there is room; so many connections and some more are taken.
        ready: called once it answers.
        sockets: whether web sockets are taken.
    """
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="on",
                            timeout_keep_alive=15, timeout_graceful_shutdown=max(1, round(drain_s)),
                            limit_concurrency=requests + _MORE_CONNECTIONS,
                            ws="auto" if sockets else "none", proxy_headers=False)
    with _quiet_ends():
        _Told(config, ready).run(sockets=[made])


class _Told(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


@contextmanager
def _quiet_ends() -> Iterator[None]:
    """Signals that ended the server, which uvicorn raises again afterwards, have done what they were to do."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
