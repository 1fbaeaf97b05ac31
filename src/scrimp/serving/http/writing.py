"""Text that is written for a request: whole, or as a stream of server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from scrimp.serving.http.inbox import Inbox, unless_gone
from scrimp.serving.http.problems import Refusal, body_of
from scrimp.serving.http.shapes import Chat, Generated
from scrimp.serving.worker import Ended, Generation, Piece

__all__ = ["Writing"]


@dataclass(frozen=True)
class Writing:
    """An answer as it is given.

    Attributes:
        asked: the request.
        job, inbox: what is done for it, and what is told of that.
        prompt_tokens: of all prompts.
        first_token: told after how many seconds the first text came.
    """

    asked: Generated
    job: Generation
    inbox: Inbox
    prompt_tokens: int
    first_token: Callable[[float], None]

    async def response(self, request: Request) -> Response:
        """The answer; of a stream it begins once there is something to say, so that a failure before has its status.

        Raises:
            Refusal: if it fails before it begins.
            Gone: if whoever asked has gone.
        """
        begun = time.monotonic()
        try:
            first = await unless_gone(request, self.inbox.next())
            self.first_token(time.monotonic() - begun)
            assert isinstance(first, Piece | Ended)
            if self.asked.stream:
                return _Stream(self._stream(first), self.job)
            return JSONResponse(await unless_gone(request, self._whole(first)))
        except BaseException:
            self.job.over = True
            raise

    @property
    def _chat(self) -> bool:
        return isinstance(self.asked, Chat)

    def _head(self, *, chunk: bool = False) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if self._chat else "text_completion"
        return {"id": f"{'chatcmpl' if self._chat else 'cmpl'}-{secrets.token_hex(12)}", "object": kind,
                "created": int(time.time()), "model": self.asked.model}

    async def _whole(self, first: Piece | Ended) -> dict[str, Any]:
        texts, ends = [""] * self.job.size, dict[int, Ended]()
        async for event in self._events(first):
            texts[event.answer] += event.text
            if isinstance(event, Ended):
                ends[event.answer] = event
        choices = [self._choice(i, text, ends[i].reason) for i, text in enumerate(texts)]
        return {**self._head(), "choices": choices, "usage": self._usage(list(ends.values()))}

    def _choice(self, index: int, text: str, reason: str) -> dict[str, Any]:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return {"index": index, **said, "finish_reason": reason, "logprobs": None}

    def _usage(self, ends: Sequence[Ended]) -> dict[str, int]:
        new = sum(end.tokens for end in ends)
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": new,
                "total_tokens": self.prompt_tokens + new}

    async def _events(self, first: Piece | Ended) -> AsyncIterator[Piece | Ended]:
        yield first
        async for event in self.inbox.written(self.job.size - isinstance(first, Ended)):
            yield event

    async def _stream(self, first: Piece | Ended) -> AsyncIterator[bytes]:
        head, ends = self._head(chunk=True), list[Ended]()
        for index in range(self.job.size if self._chat else 0):
            yield _event({**head, "choices": [self._delta(index, {"role": "assistant", "content": ""}, None)]})
        try:
            async for event in self._events(first):
                if event.text:
                    said = {"content": event.text} if self._chat else event.text
                    yield _event({**head, "choices": [self._delta(event.answer, said, None)]})
                if isinstance(event, Ended):
                    ends.append(event)
                    rest = {} if self._chat else ""
                    yield _event({**head, "choices": [self._delta(event.answer, rest, event.reason)]})
        except Refusal as refusal:  # the status is sent already
            yield b"data: " + body_of(refusal) + b"\n\n"
            return
        if self.asked.stream_options is not None and self.asked.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": self._usage(ends)})
        yield b"data: [DONE]\n\n"

    def _delta(self, index: int, said: Any, reason: str | None) -> dict[str, Any]:
        return {"index": index, "delta" if self._chat else "text": said, "finish_reason": reason, "logprobs": None}


class _Stream(StreamingResponse):
    """Gives up the job's place however it ends."""

    def __init__(self, content: AsyncIterator[bytes], job: Generation) -> None:
        super().__init__(content, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.over = True


def _event(told: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n"
