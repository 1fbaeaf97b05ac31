"""Rows written as they were found, in any of the formats that are read."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np

from scrimp.core.errors import DataError, OptionError, nearest
from scrimp.core.workspace import atomic_write
from scrimp.examples.jsontext import Flaw

__all__ = ["check", "write"]

Rows = Sequence[Mapping[str, Any]]
_TABLES = {".csv": ",", ".tsv": "\t"}


def write(path: Path, rows: Rows) -> None:
    """Write rows into a ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet`` file, all at once.

    Raises:
        OptionError: if the file is named otherwise.
        DataError: if a value has no place in such a file.
    """
    check(path, rows)
    atomic_write(path, _FORMATS[path.suffix.lower()](rows))


def check(path: Path, rows: Rows = ()) -> None:
    """Before any work is done: raise an OptionError if a file of that name is not written, or no such rows into it."""
    if (suffix := path.suffix.lower()) not in _FORMATS:
        raise OptionError(f"files named '{path.suffix or path.name}' are not written; {nearest(suffix, _FORMATS)}",
                          where=str(path))
    if suffix not in _TABLES:
        return
    for row in rows:
        if nested := next((name for name, value in row.items() if isinstance(value, list | dict)), None):
            raise DataError("a table has no place for nested values", where=nested,
                            fix="write a .jsonl or .parquet file")


def _jsonl(rows: Rows) -> str:
    return "".join(_json_text(row) + "\n" for row in rows)


def _json(rows: Rows) -> str:
    return "[\n" + ",\n".join(map(_json_text, rows)) + "\n]\n"


def _json_text(row: Mapping[str, Any]) -> str:
    return json.dumps({name: _present(value) for name, value in row.items()}, ensure_ascii=False, default=_plain)


def _present(value: Any) -> Any:
    """The NaN that data frames hold for nothing, as nothing."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    """What JSON has no kind for, as the nearest that it has."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, date | time):
        return value.isoformat()
    raise DataError("a value has no place in JSON", fix="write a .parquet file, or correct it", why=(
        f"it {value.why}" if isinstance(value, Flaw) else f"it is a {type(value).__name__}"))


def _columns(rows: Rows) -> list[str]:
    """The fields of all rows, in the order in which they are met."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _cells(rows: Rows, delimiter: str) -> str:
    cells = [names := _columns(rows), *([_cell(row.get(name)) for name in names] for row in rows)]
    returns = any("\r" in cell for row in cells for cell in row)  # the writer quotes only what ends its own lines
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n" if returns else "\n").writerows(cells)
    return text.getvalue()


def _cell(value: Any) -> str:
    if _present(value) is None:
        return ""
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _parquet(rows: Rows) -> bytes:
    import pyarrow
    from pyarrow import parquet

    written = pyarrow.BufferOutputStream()
    try:
        table = pyarrow.table({name: [row.get(name) for row in rows] for name in _columns(rows)})
        parquet.write_table(table, written)
    except (pyarrow.ArrowException, OverflowError) as error:
        raise DataError("the values of a column are of several kinds, or of one that has no place in Parquet",
                        why=str(error), fix="write a .jsonl file") from None
    return bytes(written.getvalue())


_FORMATS: dict[str, Callable[[Rows], str | bytes]] = {
    ".jsonl": _jsonl, ".json": _json, ".csv": lambda rows: _cells(rows, ","), ".tsv": lambda rows: _cells(rows, "\t"),
    ".parquet": _parquet}
