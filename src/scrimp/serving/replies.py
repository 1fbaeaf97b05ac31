"""Tokens as text while they come: nothing is said that a later token could take back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Reply"]

_UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are no whole character yet


class Reply:
    """One answer as it grows.

    What it said in the end is the decoded tokens up to the first stop text, however they came.

    Args:
        tokenizer: of the model.
        stops: texts that end the answer and are no part of it.

    Attributes:
        text: what has been said.
        stopped: whether a stop text was met.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, [stop for stop in stops if stop]
        self._ids: list[int] = []
        self._from = self._read = 0  # tokens from which is decoded, and up to which text is known
        self._known, self.text, self.stopped = "", "", False

    def add(self, token: int) -> str:
        """What can be said now that there is one more token."""
        self._ids.append(token)
        before, now = self._decoded(self._from, self._read), self._decoded(self._from, len(self._ids))
        if not now.endswith(_UNFINISHED) and len(now) >= len(before):
            self._known += now[len(before):]
            self._from, self._read = self._read, len(self._ids)
        return self._said(last=False)

    def end(self) -> str:
        """What is left to say when no token comes any more."""
        whole = self._decoded(0, len(self._ids))
        if whole.startswith(self.text):
            self._known = whole
        return self._said(last=True)

    def _decoded(self, start: int, end: int) -> str:
        return self._tokenizer.decode(self._ids[start:end], skip_special_tokens=True)

    def _said(self, *, last: bool) -> str:
        if self.stopped:
            return ""
        found = [at for stop in self._stops if (at := self._known.find(stop, len(self.text))) >= 0]
        self.stopped = bool(found)
        upto = min(found) if found else len(self._known) - (0 if last else self._held())
        new, self.text = self._known[len(self.text):upto], self._known[:upto]
        return new

    def _held(self) -> int:
        """Characters at the end that could be the beginning of a stop text."""
        return max((size for stop in self._stops for size in range(1, len(stop))
                    if self._known.endswith(stop[:size])), default=0)
