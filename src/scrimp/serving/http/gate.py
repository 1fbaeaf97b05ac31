"""What every request passes first: its host, its key, its size, its time; and the count of what became of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from scrimp.serving.http.problems import Refusal, body_of
from scrimp.serving.metrics import Metrics

__all__ = ["Gate", "Limits", "is_local"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_OPEN = ("/health",)  # needs no key
_GONE = 499  # what is counted where whoever asked has gone before an answer began


@dataclass(frozen=True)
class Limits:
    """What a request may be.

    Attributes:
        body_bytes: of it.
        body_s: seconds in which it must have arrived.
        answer_s: seconds until its answer is whole.
        new_tokens: of one answer, at most.
    """

    body_bytes: int = 1 << 20
    body_s: float = 10.0
    answer_s: float = 120.0
    new_tokens: int = 1024


class Gate:
    """ASGI middleware. A body is read whole here, within its bounds, and handed on in one piece.

    Args:
        app: what is behind it.
        limits: see there.
        key: that requests must bear; None asks for none.
        local: whether hosts other than this machine's own names are refused, so that no page in a browser gets here
            by a name that it has pointed at this machine.
        metrics: what is counted.
    """

    def __init__(self, app: App, *, limits: Limits, key: str | None, local: bool, metrics: Metrics) -> None:
        self._app, self._limits, self._local, self._metrics = app, limits, local, metrics
        self._key = None if key is None else _digest(key.encode())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counted = _Counted(send, self._metrics, scope["path"])
        try:
            self._check(scope)
            body = await self._body(scope, receive)
        except Refusal as refusal:
            await _refuse(counted, refusal)
            return
        except _GoneError:
            return
        try:
            await self._app(scope, _replayed(body, receive), counted)
        finally:
            counted.close()

    def _check(self, scope: Message) -> None:
        headers = dict(scope["headers"])
        if self._local and not is_local(_host(headers.get(b"host", b"localhost").decode("latin-1"))):
            raise Refusal(403, "this server answers to this machine's own names only", code="wrong_host")
        if self._key is not None and scope["path"] not in _OPEN:
            given = headers.get(b"authorization", b"").removeprefix(b"Bearer ").strip()
            if not hmac.compare_digest(_digest(given), self._key):
                raise Refusal(401, "the API key is missing or wrong", kind="authentication_error",
                              code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json":
                raise Refusal(415, "a request has the content type application/json", code="wrong_content_type")

    async def _body(self, scope: Message, receive: Receive) -> bytes:
        """Raises: Refusal: too large, or too slow; _GoneError: whoever asked has gone."""
        most, parts, size = self._limits.body_bytes, list[bytes](), 0
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._limits.body_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _GoneError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _too_large(most)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Refusal(408, "the body takes too long to arrive", code="timeout") from None
        return b"".join(parts)


class _GoneError(Exception):
    """The connection was closed."""


class _Counted:
    """``send`` that tells what became of a request once it is over."""

    def __init__(self, send: Send, metrics: Metrics, path: str) -> None:
        self._send, self._metrics, self._path = send, metrics, path
        self._status, self._begun, self._over = _GONE, time.monotonic(), False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.close()

    def close(self) -> None:
        """Count it, if it is not counted yet."""
        if not self._over:
            self._over = True
            self._metrics.request(self._path, self._status, time.monotonic() - self._begun)


def is_local(host: str) -> bool:
    """Whether only this machine gets there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(key: bytes) -> bytes:
    """Of one length, so that comparing tells nothing of the key's."""
    return hashlib.sha256(key).digest()


def _host(header: str) -> str:
    """The header without its port, and without the brackets of IPv6."""
    host = header.strip().lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"a request has at most {most} bytes", code="request_too_large",
                   headers={"Connection": "close"})


async def _refuse(send: Send | _Counted, refusal: Refusal) -> None:
    body = body_of(refusal)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    await send({"type": "http.response.start", "status": refusal.status,
                "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]})
    await send({"type": "http.response.body", "body": body})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What gives the body once, and from then on what comes over the connection."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
