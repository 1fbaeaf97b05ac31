"""A chat model behind HTTP that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import Field, field_validator

from scrimp.core import interrupts
from scrimp.core.errors import ModelError, OptionError, Stopped
from scrimp.core.options import Bytes, Options, Seconds
from scrimp.signals.generations import Answer, Question, SamplingOptions, Tell

__all__ = ["Endpoint"]

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # what a server says that may say otherwise soon
_FRAME_TOKENS = 64  # that a server may write around a prompt
_TOLD = 1 << 14  # bytes of a refusal that are read
_LOOK_S = 0.2  # how often somebody who waits looks whether he is to stop
_HIDDEN = 8  # characters of the shortest key that is hidden: shorter ones are placeholders such as EMPTY
_CHANCE = random.Random()  # of the waits, so that requests do not come back all at once


class _NoRedirects(HTTPRedirectHandler):
    """Another host would be sent the key."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage,
                         newurl: str) -> None:
        return None


_OPENER = build_opener(_NoRedirects)


class Endpoint(Options):
    """Asks over HTTP, several prompts at once, and again where a server is busy, breaks down or is silent.

    The key is read from the environment when it is needed. It is in no file, and is replaced by asterisks in whatever
    the server says.

    Attributes:
        url: what stands before ``/chat/completions``, such as ``https://api.openai.com/v1``.
        model: its name there.
        key: the environment variable with the key; where it is not set, none is sent.
        more: further fields of each request; None leaves out one that is sent otherwise.
        concurrency: requests at a time.
        timeout: seconds for one answer.
        tries: requests for one answer, at most.
        wait: seconds before the second try, doubled before each further one; the server's own Retry-After goes first.
        longest_wait: seconds between two tries, at most; a server that asks for more is given up.
        most_bytes: of an answer.
    """

    url: str
    model: str
    key: str = "OPENAI_API_KEY"
    more: dict[str, Any] = {}
    concurrency: int = Field(default=8, ge=1)
    timeout: Seconds = 120.0
    tries: int = Field(default=6, ge=1)
    wait: Seconds = 1.0
    longest_wait: Seconds = 120.0
    most_bytes: Bytes = 8 << 20

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        found = urlsplit(url)
        if found.scheme not in ("http", "https") or not found.hostname:
            raise ValueError("an address begins with http:// or https://")
        if found.username or found.password or found.query or found.fragment:
            raise OptionError("an address holds neither names nor keys", where="url",  # not shown: it may hold a key
                              fix="put the key into an environment variable, and give its name as key")
        return url.rstrip("/")

    def identity(self) -> Any:
        """The address, the name of the model, and what is asked beside."""
        return {"url": self.url, "model": self.model, "more": self.more}

    def most(self, prompt: str) -> int:
        """Tokens of the prompt at most: no token is shorter than a byte of UTF-8, and a frame is added."""
        return len(prompt.encode("utf-8", "replace")) + _FRAME_TOKENS

    def ask(self, questions: Sequence[Question], sampling: SamplingOptions, tell: Tell) -> None:
        """Raises: ModelError: the server refuses, says what is no answer, or does not answer however often it is asked.

        What was under way then is finished and told.
        """
        call, telling = _Call(self, sampling, _key(self.key)), threading.Lock()

        def answered(place: int) -> None:
            if not call.over.is_set():
                answer = call.answer(questions[place])
                with telling:
                    tell({place: answer})

        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="scrimp-endpoint") as pool:
            try:
                for done in as_completed([pool.submit(answered, place) for place in range(len(questions))]):
                    done.result()
            except BaseException:
                call.over.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _key(variable: str) -> str:
    found = os.environ.get(variable, "").strip()
    if not found.isascii() or not found.isprintable():
        raise OptionError("the key holds signs that no key has", where=variable, fix="set it anew")
    return found


@dataclass(frozen=True)
class _Call:
    """Asking one endpoint, with a key.

    Attributes:
        over: set when nothing more is to be asked.
    """

    to: Endpoint
    sampling: SamplingOptions
    key: str = field(repr=False)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, question: Question) -> Answer:
        """Ask until there is an answer."""
        body = json.dumps(self._body(question)).encode()
        for tried in range(1, self.to.tries + 1):
            try:
                return self._understood(self._sent(body), question)
            except HTTPError as error:
                told = self._told(error)
                if error.code not in _PASSING:
                    raise self._refused(error.code, told, question) from None
                why, after = told, _seconds(error.headers.get("Retry-After"))
            except (OSError, HTTPException) as error:
                why, after = self._hidden(str(error) or type(error).__name__), None
            if tried < self.to.tries:
                self._pause(tried, after, why)
        raise ModelError("the endpoint does not answer", where=self.to.url, why=f"{self.to.tries} tries; last: {why}",
                         fix="ask again later: what was answered is kept")

    def _body(self, question: Question) -> dict[str, Any]:
        ours = {"model": self.to.model, "messages": [{"role": "user", "content": question.prompt}],
                "seed": question.seed, **self.sampling.model_dump(include={"max_tokens", "temperature", "top_p"})}
        return {name: value for name, value in {**ours, **self.to.more}.items() if value is not None}

    def _sent(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "scrimp"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = Request(f"{self.to.url}/chat/completions", body, headers, method="POST")
        ends, parts, size = time.monotonic() + self.to.timeout, list[bytes](), 0
        with _OPENER.open(request, timeout=self.to.timeout) as response:
            while part := response.read1(1 << 16):
                parts.append(part)
                size += len(part)
                if size > self.to.most_bytes:
                    raise ModelError(f"the answer is larger than {self.to.most_bytes} bytes", where=self.to.url)
                if time.monotonic() > ends:
                    raise TimeoutError("the answer takes too long")
            if response.length:
                raise ConnectionError("the answer was cut off")
        return b"".join(parts)

    def _understood(self, raw: bytes, question: Question) -> Answer:
        try:
            found = json.loads(raw)
            text = found["choices"][0]["message"]["content"]
            if not isinstance(text, str | None):
                raise TypeError
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ModelError("what the endpoint says is no answer", where=self.to.url, fix="is this the address of an "
                             "OpenAI-style API?", why=self._hidden(raw.decode("utf-8", "replace"))) from None
        text = self._starred(text or "")  # a refusal has none
        usage = found.get("usage")
        return Answer(text, _count(usage, "prompt_tokens", question.prompt),
                      _count(usage, "completion_tokens", text))

    def _told(self, error: HTTPError) -> str:
        """What a server says of why it gives no answer."""
        try:
            raw = error.read(_TOLD).decode("utf-8", "replace")
        except (OSError, HTTPException):
            raw = ""
        finally:
            error.close()
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            raw = str(json.loads(raw)["error"]["message"])
        return f"{error.code} {self._hidden(raw or str(error.reason))}"

    def _refused(self, code: int, told: str, question: Question) -> ModelError:
        if code in (401, 403):
            return ModelError("the endpoint refuses the key", where=self.to.url, why=told,
                              fix=f"set the environment variable {self.to.key}")
        if 300 <= code < 400:
            return ModelError("the endpoint is elsewhere", where=self.to.url, why=told, fix="give its own address")
        return ModelError("the endpoint refuses the request", where=self.to.url,
                          why=f"{told}; asked: {self._hidden(question.prompt)[:60]!r}")

    def _hidden(self, told: str) -> str:
        """A line of what was told, for a person to read, without the key."""
        return " ".join("".join(c if c.isprintable() else " " for c in self._starred(told)).split())[:300]

    def _starred(self, text: str) -> str:
        return text.replace(self.key, "***") if len(self.key) >= _HIDDEN else text

    def _pause(self, tried: int, after: float | None, why: str) -> None:
        if after is not None and after > self.to.longest_wait:
            raise ModelError(f"the endpoint asks to wait {after:.0f} s", where=self.to.url, why=why,
                             fix="ask again then: what was answered is kept")
        doubled = min(self.to.wait * 2 ** (tried - 1), self.to.longest_wait)
        ends = time.monotonic() + (_CHANCE.uniform(doubled / 2, doubled) if after is None else after)
        while (left := ends - time.monotonic()) > 0:
            interrupts.stop_if_requested()
            if self.over.wait(min(left, _LOOK_S)):
                raise Stopped("asking has ended")


def _seconds(after: str | None) -> float | None:
    """Retry-After, which is a number of seconds or a date."""
    if after is None:
        return None
    try:
        return max(float(after), 0.0) if after.strip().isdigit() else max(
            parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _count(usage: Any, name: str, text: str) -> int:
    """Tokens as the server counts them; of one that does not, a token for each byte, which is never too few."""
    found = usage.get(name) if isinstance(usage, Mapping) else None
    return found if isinstance(found, int) and found >= 0 else len(text.encode("utf-8", "replace"))
