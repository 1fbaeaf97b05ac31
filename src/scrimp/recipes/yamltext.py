"""YAML text to plain values, with the line and column of each: small, strict and safe.

Only mappings, lists and plain scalars. Tags, anchors and aliases, duplicate keys, several documents, deep nesting and
large files are refused, so no text can build an object or grow. Scalars follow YAML 1.2: `no` and `on` are text and
`1e-4` is a number, as people expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scrimp.core.errors import OptionError

__all__ = ["Document", "KeyPath", "dump", "read", "read_file", "scalar"]

MAX_BYTES, MAX_DEPTH, MAX_NODES = 1_000_000, 20, 20_000
KeyPath = tuple[str | int, ...]
Mark = tuple[int, int]

_WORDS = {word: value for value, words in ((None, ("", "~", "null")), (True, ("true",)), (False, ("false",)))
          for word in words}
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,3})?")


def scalar(text: str) -> Any:
    """A plain scalar as None, a truth value, a number or text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


@dataclass
class Document:
    """A read text: its value, and where each key and value of it stands (line and column, from 1)."""

    name: str
    value: Any = None
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    values: dict[KeyPath, Mark] = field(default_factory=dict)

    def at(self, path: KeyPath, *, key: bool = False) -> str:
        """``file:line:column`` of the value (or key) at ``path``, or of the nearest thing around it that exists."""
        for end in range(len(path), -1, -1):
            marks = self.keys if key and path[:end] in self.keys else self.values
            if path[:end] in marks:
                line, column = marks[path[:end]]
                return f"{self.name}:{line}:{column}"
        return f"{self.name}:1:1"


def read_file(path: Path) -> Document:
    """The document in a UTF-8 file.

    Raises:
        OptionError: naming the file, line and column.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OptionError("cannot be read", where=str(path), why=error.strerror) from None
    if len(data) > MAX_BYTES:
        raise OptionError(f"is larger than {MAX_BYTES} bytes", where=str(path), fix="keep data in a file of its own")
    try:
        return read(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line, column = _position(data[:error.start].decode("utf-8", "replace"))
        raise OptionError("is not UTF-8", where=f"{path}:{line}:{column}", fix="save the file as UTF-8") from None


def read(text: str, name: str) -> Document:
    """The document in ``text``; ``name`` stands for the file in errors."""
    document = Document(name)
    try:
        _Reader(document, text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise OptionError(f"is no YAML: {error.problem or error.context}", where=where) from None
    except yaml.reader.ReaderError as error:
        line, column = _position(text[:error.position])
        raise OptionError("is no YAML: a control character", where=f"{name}:{line}:{column}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise OptionError(f"is no YAML: {error}", where=name) from None
    return document


def _position(before: str) -> Mark:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Reader:
    """Builds a document from the parser's events."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._nodes = 0
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)

    def document(self) -> None:
        next(self._events)  # the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return
        self._document.value = self._value(next(self._events), ())
        next(self._events)  # the document's end
        extra = next(self._events)
        if not isinstance(extra, yaml.StreamEndEvent):
            raise self._refusal(extra, "there is a second document", "keep one recipe a file")

    def _value(self, event: Any, path: KeyPath) -> Any:
        self._check(event, path)
        self._document.values[path] = _start(event)
        if isinstance(event, yaml.ScalarEvent):
            return scalar(event.value) if event.style is None else self._text(event)
        return self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path)

    def _list(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._check(event, path)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refusal(event, "a key must be plain text", "write `key: value`")
            key = self._text(event)
            if key in found:
                first = self._document.at((*path, key), key=True)
                raise self._refusal(event, f"the key '{key}' is given twice", f"keep one; the first is at {first}")
            self._document.keys[(*path, key)] = _start(event)
            found[key] = self._value(next(self._events), (*path, key))
        return found

    def _text(self, event: Any) -> str:
        """A scalar's text; escapes may write a character as two halves, as JSON does."""
        try:
            text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self._refusal(event, "holds half a character", "write both halves, or the character") from None
        if "\0" in text:
            raise self._refusal(event, "holds a NUL character", "remove it")
        return text

    def _check(self, event: Any, path: KeyPath) -> None:
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._refusal(event, "anchors and aliases are not used here", "write the value out")
        if event.tag is not None:
            raise self._refusal(event, f"the tag '{event.tag}' is not used here", "remove it, or quote the text")
        if len(path) > MAX_DEPTH:
            raise self._refusal(event, f"is nested more than {MAX_DEPTH} deep", "write it flatter")
        if self._nodes > MAX_NODES:
            raise self._refusal(event, f"has more than {MAX_NODES} values", "keep data in a file of its own")

    def _refusal(self, event: Any, what: str, fix: str) -> OptionError:
        line, column = _start(event)
        return OptionError(what, where=f"{self._document.name}:{line}:{column}", fix=fix)


def _start(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Dumper(yaml.SafeDumper):
    """Quotes whatever text `scalar` would take for something else, and escapes what is not printable."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = text.isprintable() and scalar(text) is text
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_multi_representer(str, _text)
_Dumper.add_representer(str, _text)


def dump(value: Any) -> str:
    """YAML that `read` reads as ``value``: plain mappings, lists and scalars."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
