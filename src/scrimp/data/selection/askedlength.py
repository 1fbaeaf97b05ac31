"""A selector that keeps answers of the length that was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import AfterValidator

from scrimp.core.registry import preset
from scrimp.data.selection.scored import Scored, answer_text
from scrimp.examples.records import input_text

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["AskedLength", "obedience"]

_UNKNOWN = 0.5  # of a row that asks for no length: it neither obeys nor disobeys


def _with_a_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if groups != 1:
        raise ValueError("needs one group, around the number")
    return pattern


class AskedLength(Scored):
    """Score a row by how well its answer has the length that its prompt asks for, from 0 to 1.

    With l asked for and l' given, ``1 - (l'/l - 1) / 3`` of a longer answer and ``1 - (l/l' - 1) / 2`` of a shorter
    one, none below 0: Bai et al. 2024, "LongWriter: Unleashing 10,000+ Word Generation from Long Context LLMs". Rows
    that ask for none have a half.

    Attributes:
        asks: regular expression that finds the number in the prompt, its first group; thousands may be parted.
        unit: of the number: "words", parted by spaces, or "characters".
    """

    asks: Annotated[str, AfterValidator(_with_a_group)] = r"(?i)(\d[\d,]*)[\s-]*words?\b"
    unit: Literal["words", "characters"] = "words"

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        found = [re.search(self.asks, input_text(row)) for row in pool.rows]
        return np.array([obedience(int(asked[1].replace(",", "")), self._length(answer_text(row))) if asked
                         else _UNKNOWN for asked, row in zip(found, pool.rows, strict=True)])

    def passes(self) -> dict[str, float]:
        return {}

    def _length(self, text: str) -> int:
        return len(text.split()) if self.unit == "words" else len(text)


def obedience(asked: int, given: int) -> float:
    """How well a length does for another; see `AskedLength`."""
    if asked == given:
        return 1.0
    if not asked or not given:
        return 0.0
    over = (given / asked - 1) / 3 if given > asked else (asked / given - 1) / 2
    return max(0.0, 1 - over)


preset("asked-length", AskedLength)
