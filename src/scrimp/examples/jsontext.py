"""Strict JSON whose flaws stay with their row: a doubled key or a NaN spoils the row, not the file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scrimp.core.errors import DataError

__all__ = ["Flaw", "json_items", "json_value"]

_SPACE = re.compile(r"[ \t\r\n]*")
_TOO_DEEP = "nested too deeply"


@dataclass(frozen=True)
class Flaw:
    """Stands where a value was that strict JSON does not allow."""

    why: str


def _object(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return Flaw(f"the key '{twice}' stands there twice")


def _integer(digits: str) -> Any:
    try:
        return int(digits)
    except ValueError:
        return Flaw(f"a number of {len(digits)} digits")


def _float(digits: str) -> Any:
    number = float(digits)
    return number if math.isfinite(number) else Flaw(f"{digits[:40]} is too large a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float,
                            parse_constant=lambda name: Flaw(f"{name} is no JSON value"))


def json_value(text: str) -> Any:
    """The one value that ``text`` holds; a Flaw where it is not JSON or the whole value is not allowed."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return Flaw(f"not valid JSON: {error.msg[0].lower()}{error.msg[1:]} at column {error.colno}")
    except RecursionError:
        return Flaw(_TOO_DEEP)


def json_items(text: str, where: str) -> Iterator[tuple[int, Any]] | None:
    """The elements of a JSON array, or of the list under ``data`` in a JSON object, each with its line.

    Returns:
        None if the text is several objects one after the other: JSON Lines.

    Raises:
        DataError: if it is neither (now), or where it stops being JSON (while iterating).
    """
    walk = _Walk(text, where)
    if walk.peek() == "[":
        return walk.elements(inside=False)
    if walk.peek() != "{":
        raise walk.error('a JSON file of rows is an array [...] or an object {"data": [...]}')
    keys = walk.keys_before_data()
    if walk.peek() == "[":
        return walk.elements(inside=True)
    if walk.peek():
        return None
    raise DataError("holds one JSON object and no list under 'data'", where=where,
                    why=f"its keys are: {', '.join(keys[:10]) or 'none'}", fix='write the rows as {"data": [...]}')


class _Walk:
    """A cursor on the outermost level of a JSON text."""

    def __init__(self, text: str, where: str) -> None:
        self._text, self._where, self._at = text, where, 0

    def peek(self) -> str:
        """The next character that is not space; empty at the end."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at:self._at + 1]

    def keys_before_data(self) -> list[str]:
        """Step into an object, up to the list under ``data`` or, where there is none, behind the object's end."""
        keys: list[str] = []
        self._take("{")
        while self.peek() != "}":
            keys.append(self._key())
            if keys[-1] == "data" and self.peek() == "[":
                return keys
            self._value()
            if self.peek() != "}":
                self._take(",")
        self._take("}")
        return keys

    def elements(self, *, inside: bool) -> Iterator[tuple[int, Any]]:
        """The list's elements with their lines; then the rest, which must be JSON too."""
        self._take("[")
        line, counted = 1, 0
        more = self.peek() != "]"
        if not more:
            self._take("]")
        while more:
            self.peek()
            line, counted = line + self._text.count("\n", counted, self._at), self._at
            yield line, self._value()
            more = self._take(",]") == ","
        while inside and self._take(",}") == ",":
            self._key()
            self._value()
        if self.peek():
            raise self.error("there is text after the end")

    def _key(self) -> str:
        key = self._value()
        self._take(":")
        return str(key)

    def _take(self, allowed: str) -> str:
        if not self.peek() or self.peek() not in allowed:
            raise self.error(f"expected '{allowed[0]}'")
        self._at += 1
        return self._text[self._at - 1]

    def _value(self) -> Any:
        self.peek()
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self.error(f"{error.msg[0].lower()}{error.msg[1:]}") from None
        except RecursionError:
            raise self.error(_TOO_DEEP) from None
        return value

    def error(self, why: str) -> DataError:
        """What is wrong at the cursor, with its line."""
        line = self._text.count("\n", 0, self._at) + 1
        return DataError("is not valid JSON", where=f"{self._where}:{line}", why=why,
                         fix="if each line is an object of its own, name the file .jsonl")
