"""What a pass found of rows, in files that are mapped and not read: so many lines of numbers for each row."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np

from scrimp.core.errors import WorkspaceError

__all__ = ["Answers"]

_FLUSH_S, _FLUSH_BYTES = 5.0, 1 << 24  # the most that is lost with the power, and held in memory, of what was found
_HEADER = 128  # bytes of numpy's files before their content
_MADE, _TAKEN = 1, 2  # of a row: computed now, taken from an earlier pass; else to be computed
_FILES = {"keys": np.uint8, "starts": np.int64, "values": np.float32, "done": np.uint8}


class Answers(Sequence[np.ndarray]):
    """Lines of W numbers for each of N rows, [lines, W] each, and which rows have theirs.

    Attributes:
        starts: int64 [N + 1]; the lines of row i are ``values[starts[i]:starts[i + 1]]``.
        values: float32 [L, W].
    """

    def __init__(self, starts: np.ndarray, values: np.ndarray, done: np.ndarray) -> None:
        self.starts, self.values, self._done = starts, values, done
        self._flushed, self._held = time.monotonic(), 0

    @classmethod
    def in_memory(cls, lines: Iterable[int], width: int) -> Answers:
        """Room for the numbers of these rows, float32 [sum of ``lines``, ``width``], that ends with the process."""
        starts = _starts(lines)
        return cls(starts, np.zeros((int(starts[-1]), width), np.float32), np.zeros(len(starts) - 1, np.uint8))

    @classmethod
    def in_folder(cls, folder: Path, keys: np.ndarray, lines: Iterable[int], width: int,
                  earlier: Iterable[Path] = ()) -> Answers:
        """What ``folder`` holds of these rows already; at first, what ``earlier`` folders hold of rows with these keys.

        The room is reserved before anything is written: a mapped file on a full disk would else end the process.

        Args:
            folder: of this pass over these rows.
            keys: uint8 [N, K], which say what a row is.
            lines: of each row.
            width: numbers of a line.
            earlier: folders of the same pass over other rows.

        Raises:
            WorkspaceError: there is no room, or the files cannot be written.
        """
        if (found := _opened(folder, "r+")) is not None and np.array_equal(found["keys"], keys):
            return cls(found["starts"], found["values"], found["done"])
        starts = _starts(lines)
        try:
            made = {name: _reserved(folder / f"{name}.npy", dtype, shape) for name, dtype, shape in (
                ("keys", np.uint8, keys.shape), ("starts", np.int64, starts.shape),
                ("values", np.float32, (int(starts[-1]), width)), ("done", np.uint8, (len(keys),)))}
        except OSError as error:
            raise WorkspaceError("cannot be written", where=str(folder), why=error.strerror or str(error),
                                 fix="free some disk, or choose another --workspace") from None
        answers = cls(starts, made["values"], made["done"])
        answers._take(keys, earlier)
        for name, content in (("starts", starts), ("keys", keys)):  # with the keys the files count as begun
            made[name][:] = content
            _flush(made[name])
        return answers

    @classmethod
    def finished(cls, folder: Path) -> Answers:
        """What a pass left there; what is changed in the arrays stays in memory.

        Raises:
            WorkspaceError: if a file is damaged.
        """
        found = _opened(folder, "c")
        if found is None or not found["done"].all() or found["starts"][-1] != len(found["values"]):
            raise WorkspaceError("is damaged", where=str(folder), fix="delete this folder; it is made again")
        return cls(found["starts"], found["values"], found["done"])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        row = range(len(self))[index]
        return self.values[self.starts[row]:self.starts[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.values[a:b] for a, b in pairwise(self.starts.tolist()))

    def copy(self) -> Answers:
        """The same in arrays of its own."""
        return Answers(self.starts, self.values.copy(), self._done.copy())

    def asked(self) -> np.ndarray:
        """The rows that this pass must compute: the same after a kill, so that its batches are the same."""
        return np.flatnonzero(self._done != _TAKEN)

    def has(self, rows: np.ndarray) -> bool:
        """Whether all of ``rows`` have theirs."""
        return bool(self._done[rows].all())

    def put(self, rows: np.ndarray, values: np.ndarray) -> None:
        """The lines [sum over rows, W] of ``rows``, in their order."""
        at = 0
        for row in rows:
            start, end = self.starts[row], self.starts[row + 1]
            self.values[start:end] = values[at:at + end - start]
            at += end - start
        self._done[rows] = _MADE
        _let_go(self.values)
        self._held += values.nbytes
        if self._held > _FLUSH_BYTES or time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Bring the numbers to the disk, then the word that they are there."""
        _flush(self.values)
        _flush(self._done)
        self._flushed, self._held = time.monotonic(), 0

    def _take(self, keys: np.ndarray, earlier: Iterable[Path]) -> None:
        """Copy the lines of rows that an earlier pass saw."""
        for folder in earlier:
            found = _opened(folder, "r")
            if found is None or found["values"].shape[1] != self.values.shape[1]:
                continue
            wanted = np.flatnonzero(self._done != _TAKEN)
            there = _places(keys[wanted], found["keys"], np.flatnonzero(found["done"]))
            for row, place in zip(wanted[there >= 0], there[there >= 0], strict=True):
                lines = slice(*found["starts"][place:place + 2])
                self.values[self.starts[row]:self.starts[row + 1]] = found["values"][lines]
                self._done[row] = _TAKEN


def _places(keys: np.ndarray, known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of each of ``keys`` the one of ``places`` at which ``known`` has it, else -1."""
    if not len(places):
        return np.full(len(keys), -1)
    ours, theirs = (np.ascontiguousarray(some).view(f"S{keys.shape[1]}")[:, 0] for some in (keys, known[places]))
    order = np.argsort(theirs)
    found = order[np.searchsorted(theirs, ours, sorter=order).clip(max=len(theirs) - 1)]
    return np.where(theirs[found] == ours, places[found], -1)


def _flush(array: np.ndarray) -> None:
    """Bring a mapped file to the disk, and its pages out of this process."""
    if isinstance(array, np.memmap):
        array.flush()
        _let_go(array)


def _let_go(array: np.ndarray) -> None:
    """Take a mapped file's pages out of this process, for it may be large; the system still has what they hold."""
    if isinstance(array, np.memmap):
        array.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]  # the map itself


def _starts(lines: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *lines], dtype=np.int64)


def _reserved(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A mapped file of zeros that has its room on the disk."""
    if 0 in shape:
        np.save(path, np.zeros(shape, dtype))
        return np.load(path)
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return mapped


def _opened(folder: Path, mode: Literal["r", "r+", "c"]) -> dict[str, np.ndarray] | None:
    """The files of a folder; None if one is missing or is not what it should be."""
    if mode == "r+" and _opened(folder, "r") is None:
        return None  # opened for writing, a file that was cut short would be filled up with zeros
    try:
        found = {name: _mapped(folder / f"{name}.npy", mode) for name in _FILES}
    except (OSError, ValueError, EOFError, TokenError, SyntaxError, TypeError, OverflowError, MemoryError):
        return None  # numpy reads a header as the Python literal that it is meant to be
    rows = len(found["keys"])
    sound = (all(found[name].dtype == dtype for name, dtype in _FILES.items()) and found["values"].ndim == 2
             and found["starts"].shape == (rows + 1,) and found["done"].shape == (rows,))
    return found if sound else None


def _mapped(path: Path, mode: Literal["r", "r+", "c"]) -> np.ndarray:
    """Of a file without content, which cannot be mapped, an array like any other."""
    empty = path.stat().st_size <= _HEADER
    return np.load(path, mmap_mode=None if empty else mode, allow_pickle=False)
