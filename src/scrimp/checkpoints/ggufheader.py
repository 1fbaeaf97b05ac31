"""The header of a GGUF file, walked through before a library believes it.

Its counts and lengths decide how long a reader loops and how much memory it takes; here each is held against the bytes
that the file has. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from math import prod
from pathlib import Path

from scrimp.core.errors import ModelError

__all__ = ["check_gguf"]

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of the fixed types, by number
_UINT32, _STRING, _ARRAY = 4, 8, 9
_MOST_SETTINGS, _MOST_TENSORS, _MOST_ITEMS, _MOST_AXES = 1 << 16, 1 << 17, 1 << 22, 8
_ALIGNMENT = 32
_AGAIN = "download the file again, from where its authors published it"


def check_gguf(path: Path) -> None:
    """Hold every count, length, size and place in the header against the file.

    Raises:
        ModelError: no GGUF file, cut short, or a header that claims what the file cannot hold.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError("is no GGUF file", where=str(path))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _Header(path, data).check()
    except OSError as error:
        raise ModelError("cannot be read", where=str(path), why=error.strerror) from None


class _Header:
    """A place in the file that moves on with what is read."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._at = path, data, 4
        self._order, self._alignment = "<", _ALIGNMENT
        if self._number("I") & 0xFFFF == 0:  # the version is a small number, so its bytes stand the other way round
            self._order = ">"

    def check(self) -> None:
        tensors = self._count(_MOST_TENSORS, "tensors")
        settings = self._count(_MOST_SETTINGS, "settings")
        for _ in range(settings):
            self._setting()
        ends = [self._tensor() for _ in range(tensors)]
        begin = -(-self._at // self._alignment) * self._alignment
        if (last := max(ends, default=0)) > len(self._data) - begin:
            self._refuse(f"the tensors end at byte {begin + last}, the file has {len(self._data)}")

    def _setting(self) -> None:
        name, kind = self._text(), self._number("I")
        if kind == _STRING:
            self._text()
        elif kind == _ARRAY:
            self._array(name)
        elif name == b"general.alignment" and kind == _UINT32:
            self._alignment = self._number("I") or self._refuse("the alignment is 0")
        else:
            self._take(self._size(kind))

    def _array(self, name: bytes) -> None:
        kind, items = self._number("I"), self._count(_MOST_ITEMS, f"items in '{name[:60].decode(errors='replace')}'")
        if kind != _STRING:
            self._take(items * self._size(kind))
            return
        for _ in range(items):
            self._text()

    def _tensor(self) -> int:
        """Where its data ends, counted from where all data begins."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self._text()
        axes = self._number("I")
        if axes > _MOST_AXES:
            self._refuse(f"a tensor has {axes} axes")
        shape, kind, offset = [self._number("Q") for _ in range(axes)], self._number("I"), self._number("Q")
        if kind not in set(GGMLQuantizationType):
            self._refuse(f"a tensor is of the unknown type {kind}")
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if prod(shape) == 0 or prod(shape) % block:
            self._refuse(f"'{name[:60].decode(errors='replace')}' cannot have the shape {shape}")
        return offset + prod(shape) // block * size

    def _count(self, most: int, what: str) -> int:
        found = self._number("Q")
        if found > min(most, len(self._data)):
            self._refuse(f"there are said to be {found} {what}")
        return found

    def _size(self, kind: int) -> int:
        return _SIZES.get(kind) or self._refuse(f"a setting is of the type {kind}, which is unknown or not read")

    def _text(self) -> bytes:
        return self._take(self._number("Q"))

    def _number(self, form: str) -> int:
        return struct.unpack(self._order + form, self._take(struct.calcsize(form)))[0]

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            self._refuse(f"{size} bytes are to follow byte {self._at}, the file has {len(self._data)}")
        self._at += size
        return self._data[self._at - size:self._at]

    def _refuse(self, why: str) -> int:
        raise ModelError("its header does not fit the file", where=str(self._path), why=why, fix=_AGAIN)
