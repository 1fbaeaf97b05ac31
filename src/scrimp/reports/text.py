"""Other people's text, made fit to be shown: nothing invisible, nothing endless, nothing that could be run."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

from markupsafe import escape

from scrimp.evaluation.outcome import InspectedRow

__all__ = ["Clipped", "Run", "clip", "clipped", "facts", "runs", "visible"]

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_KEY, _FACT, _TOKEN = 60, 400, 32  # characters shown of a fact's name, of a fact, of a token


def visible(text: str) -> str:
    """``text`` with control characters, direction overrides and lone surrogates spelled out; not line ends and tabs."""
    return "".join(_spelled(char) for char in text)


def _spelled(char: str) -> str:
    if char in "\n\t" or (unicodedata.category(char) not in ("Cc", "Cs") and char not in _BIDI):
        return char
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else f"[U+{ord(char):04X}]"


def clip(text: str, most: int) -> str:
    """At most ``most`` characters on one line, with an ellipsis where some were left out."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


@dataclass(frozen=True)
class Clipped:
    """A long text: its ``head``, the ``whole`` as far as the page carries it, and the characters it does not carry."""

    head: str
    whole: str
    length: int
    left_out: int

    @property
    def long(self) -> bool:
        """Whether there is more than the head."""
        return self.length > len(self.head)


def clipped(text: str, *, head: int, head_lines: int, most_bytes: int) -> Clipped:
    """``text`` for a page that has ``most_bytes`` (after escaping) to spare for it, and for its head as much again."""
    weights = accumulate(len(escape(visible(char)).encode()) for char in text)
    kept = sum(weight <= most_bytes for weight in weights)
    first = "\n".join(text[: min(head, kept)].split("\n")[:head_lines])
    return Clipped(first, text[:kept], len(text), len(text) - kept)


@dataclass(frozen=True)
class Run:
    """Neighbouring tokens that are all trained or all not; ``left_out`` more stood between ``tokens`` and ``tail``."""

    trained: bool
    tokens: tuple[str, ...]
    tail: tuple[str, ...] = ()
    left_out: int = 0


def runs(row: InspectedRow, *, most_tokens: int) -> list[Run]:
    """The row's tokens in runs; a run longer than its share of ``most_tokens`` keeps its two ends."""
    pieces = [(trained, [token for token, _ in group])
              for trained, group in groupby(zip(row.tokens, row.trained, strict=True), key=lambda pair: pair[1])]
    shown, rest = pieces[: most_tokens // 8], pieces[most_tokens // 8:]
    most = max(8, most_tokens // max(len(shown), 1))
    found = [_run(trained, tokens, most) for trained, tokens in shown]
    return [*found, Run(False, (), (), sum(len(tokens) for _, tokens in rest))] if rest else found


def _run(trained: bool, tokens: list[str], most: int) -> Run:
    marked = tuple(_marked(token) for token in tokens)
    if len(marked) <= most:
        return Run(trained, marked)
    return Run(trained, marked[: most // 2], marked[-(most // 2):], len(marked) - 2 * (most // 2))


def _marked(token: str) -> str:
    """A token with its whitespace visible; none is shown longer than a word could be."""
    shown = token if len(token) <= _TOKEN else token[:_TOKEN] + "…"
    return shown.replace("\t", "⇥").replace(" ", "·").replace("\n", "↵\n")


def facts(mapping: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys and values as words, nested ones flattened into one line each."""
    return [(clip(str(key).replace("_", " "), _KEY), clip(_plain(value), _FACT)) for key, value in mapping.items()]


def _plain(value: Any) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_plain(inner) for inner in value)
    return str(value)
