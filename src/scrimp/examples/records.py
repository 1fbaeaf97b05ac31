"""Rows in the shape that everything below works on: a layout, its keys, and where each row came from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from scrimp.core.workspace import fingerprint
from scrimp.examples.sequences import Spooled

__all__ = ["Examples", "Layout", "input_text", "natural", "normal", "told_labels"]


class Layout(StrEnum):
    """What a row is: a document, a prompt with its completion, a chat, a text with its label, with any number of labels
    or with its score, or a pair of answers.
    """

    TEXT = "text"
    PROMPT = "prompt"
    CHAT = "chat"
    LABEL = "label"
    LABELS = "labels"
    SCORE = "score"
    PREFERENCE = "preference"

    @property
    def headed(self) -> bool:
        """Whether a linear head on the features of a text says what is wanted of it, which is the key of this name."""
        return self in (Layout.LABEL, Layout.LABELS, Layout.SCORE)

    @property
    def noun(self) -> str:
        """What is wanted of a text where that is headed, with its article."""
        return "several labels" if self is Layout.LABELS else f"a {self.value}"

    @property
    def asked(self) -> bool:
        """Whether a language model can be asked for what is wanted of a row."""
        return self not in (Layout.LABELS, Layout.SCORE)


@dataclass(frozen=True, eq=False)
class Examples(Sequence[Mapping[str, Any]]):
    """Rows of one layout, on disk: see `Spooled`.

    Attributes:
        rows: dicts of the layout's keys: ``{text}``, ``{prompt, completion, rationale?}``, ``{messages, tools?}``,
            ``{text, label}``, ``{text, labels}`` (distinct, in natural order), ``{text, score}`` or
            ``{prompt, chosen, rejected}``. Rows to predict on may lack what is
            wanted. Whatever sequence is given, they are read from a file, each time anew.
        layout: of all rows.
        sources: where each row came from, such as ``train.jsonl:3``.
        layout_reason: how the layout was found, in words.
        notes: what a person should know about the reading: rows skipped, duplicates, an unusual encoding.
        found: the fields of each row as they stand in its source, where the reader was asked to keep them; else empty.
        columns: key of the layout -> name of the field, where that is the same for all rows; else empty.
    """

    rows: Sequence[dict[str, Any]]
    layout: Layout
    sources: Sequence[str]
    layout_reason: str = ""
    notes: tuple[str, ...] = ()
    found: tuple[dict[str, Any], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("rows", "sources"):
            object.__setattr__(self, name, Spooled.of(getattr(self, name)))
        if len(self.rows) != len(self.sources) or len(self.found) not in (0, len(self.rows)):
            raise ValueError(f"{len(self.rows)} rows with {len(self.sources)} sources, {len(self.found)} found")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels in natural order ("2" before "10"); empty in layouts without any."""
        if self.layout not in (Layout.LABEL, Layout.LABELS):
            return ()
        several = (row.get("labels", (row["label"],) if "label" in row else ()) for row in self.rows)
        return tuple(sorted({label for labels in several for label in labels}, key=natural))

    @cached_property
    def fingerprint(self) -> str:
        """Of layout and rows, in order; not of where they came from."""
        return fingerprint([self.layout, [fingerprint(row) for row in self.rows]])

    def subset(self, indices: Iterable[int]) -> Examples:
        """The rows at ``indices``, in that order."""
        picked = [int(i) for i in indices]
        return replace(self, rows=Spooled.of(self.rows).picked(picked), sources=Spooled.of(self.sources).picked(picked),
                       found=tuple(self.found[i] for i in picked) if self.found else ())


def natural(text: str) -> tuple[list[tuple[bool, int, str]], str]:
    """A sort key that takes runs of digits as numbers."""
    parts = [p for p in re.split(r"([0-9]+)", text) if p]
    return [(False, int(p[:4000]), "") if p[0] in "0123456789" else (True, 0, p) for p in parts], text


def normal(text: str) -> str:
    """The text as it is compared: NFKC, case folded, runs of whitespace as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def input_text(row: Mapping[str, Any]) -> str:
    """What a row asks: its text, its prompt, or all messages but the assistant's, joined by line breaks."""
    if "messages" in row:
        return "\n".join(m.get("content") or "" for m in row["messages"] if m["role"] != "assistant")
    return row["text"] if "text" in row else row["prompt"]


def told_labels(labels: Iterable[str]) -> str:
    """Several labels as a person reads them."""
    return "; ".join(labels) or "(none)"
