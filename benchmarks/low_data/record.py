"""The cells that were measured, one JSON line each, in one file that is always whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrimp.core.workspace import atomic_write

__all__ = ["RESULTS", "Key", "Record", "cells"]

RESULTS = Path(__file__).with_name("results.jsonl")
Cell = dict[str, Any]


@dataclass(frozen=True, order=True)
class Key:
    """Which cell: so many rows of each class of a task, or in all, drawn by a seed, given to a way."""

    task: str
    count: int
    seed: int
    way: str

    def __str__(self) -> str:
        return f"{self.task}/{self.count}/{self.seed}/{self.way}"


def cells(path: Path = RESULTS) -> dict[Key, Cell]:
    """What a file holds."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = map(json.loads, lines)
    return {Key(one["task"], one["count"], one["seed"], one["way"]): one for one in found}


class Record:
    """A file of cells; another process may add to it in between.

    Args:
        path: the file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, key: Key, facts: Mapping[str, Any]) -> None:
        """Keep what was found of a cell, instead of what was known of it."""
        found = {**cells(self._path), key: {**vars(key), **facts}}
        lines = [json.dumps(found[one], ensure_ascii=False, sort_keys=True) for one in sorted(found)]
        atomic_write(self._path, "\n".join(lines) + "\n")

    def missing(self, asked: Iterable[Key], again: Callable[[Key, Cell], bool]) -> list[Key]:
        """Of the cells that are asked for, those that are not known, or are to be measured ``again``; in order."""
        known = cells(self._path)
        return [key for key in asked if key not in known or again(key, known[key])]
