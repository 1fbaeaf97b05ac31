"""Long sequences that take little memory: items that stand in a file, and items that are made when asked for."""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scrimp.core.errors import WorkspaceError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Spooled", "Viewed"]

Item = TypeVar("Item")
Given = TypeVar("Given")


_HELD = 1 << 20  # bytes that are no file: most sequences are short, and a process may open few files


class Spooled(Sequence[Any]):
    """Values of JSON, which stand in a file without a name if they are many; in memory is then only where each begins.

    A part of it shares the file. It equals any sequence of the same values.

    Args:
        items: what is written; of an object its attributes.
        folder: where the file is; None is the system's folder for temporary files.

    Raises:
        WorkspaceError: it cannot be written.
    """

    def __init__(self, items: Iterable[Any], folder: Path | None = None) -> None:
        ends = array("q", [0])
        try:
            file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 (it is closed with the last that reads it)
                _HELD, dir=str(folder) if folder else None)
            for item in items:
                ends.append(ends[-1] + file.write(json.dumps(item, default=vars, separators=(",", ":")).encode()))
            file.flush()
        except OSError as error:
            raise WorkspaceError("cannot be written", where=str(folder or tempfile.gettempdir()),
                                 why=error.strerror or str(error),
                                 fix="free some disk, or set TMPDIR to another folder") from None
        file.seek(0)
        self._held = file.read() if ends[-1] <= _HELD else file
        self._places = _places(ends)

    @classmethod
    def of(cls, items: Iterable[Any]) -> Spooled:
        """These items, which may stand in a file already."""
        return items if isinstance(items, Spooled) else cls(items)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.picked(range(len(self))[index])
        start, end = self._places[index].tolist()
        held = self._held
        return json.loads(held[start:end] if isinstance(held, bytes) else os.pread(held.fileno(), end - start, start))

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))

    def __add__(self, other: Iterable[Any]) -> Spooled:
        return Spooled(chain(self, other))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(
            one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return Spooled, (list(self),)

    def picked(self, indices: Iterable[int]) -> Spooled:
        """The items at ``indices``, in that order."""
        part = object.__new__(Spooled)
        part._held, part._places = self._held, self._places[_whole(indices)]
        return part


def _places(ends: array[int]) -> np.ndarray:
    """Where items begin and end, int64 [N, 2]."""
    import numpy as np

    return np.stack([ends[:-1], ends[1:]], axis=1).astype(np.int64)


def _whole(indices: Iterable[int]) -> np.ndarray:
    import numpy as np

    return np.fromiter(indices, dtype=np.int64)


class Viewed(Sequence[Item], Generic[Given, Item]):
    """``made(item)`` of each item of another sequence, made when it is asked for."""

    def __init__(self, items: Sequence[Given], made: Callable[[Given], Item]) -> None:
        self._items, self._made = items, made

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return Viewed(self._items[index], self._made) if isinstance(index, slice) else self._made(self._items[index])

    def __iter__(self) -> Iterator[Item]:
        return map(self._made, self._items)
