"""Rows written as they were found, in any of the formats that are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scrimp.core.errors import DataError, OptionError, nearest
from scrimp.core.workspace import atomic_write

__all__ = ["check_suffix", "write"]

Rows = Sequence[Mapping[str, Any]]


def write(path: Path, rows: Rows) -> None:
    """Write rows into a ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet`` file, all at once.

    Raises:
        OptionError: if the file is named otherwise.
        DataError: if a value has no place in a table.
    """
    check_suffix(path)
    atomic_write(path, _FORMATS[path.suffix.lower()](rows))


def check_suffix(path: Path) -> None:
    """Raise an OptionError if a file of that name is not written."""
    if (suffix := path.suffix.lower()) not in _FORMATS:
        raise OptionError(f"files named '{path.suffix or path.name}' are not written; {nearest(suffix, _FORMATS)}",
                          where=str(path))


def _jsonl(rows: Rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _json(rows: Rows) -> str:
    return json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n"


def _columns(rows: Rows) -> list[str]:
    """The fields of all rows, in the order in which they are met."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _cells(rows: Rows, delimiter: str) -> str:
    text, names = io.StringIO(newline=""), _columns(rows)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        nested = next((name for name, value in row.items() if isinstance(value, list | dict)), None)
        if nested is not None:
            raise DataError("a table has no place for nested values", where=nested,
                            fix="write a .jsonl or .parquet file")
        writer.writerow(["" if (value := row.get(name)) is None else value for name in names])
    return text.getvalue()


def _parquet(rows: Rows) -> bytes:
    import pyarrow
    from pyarrow import parquet

    written = pyarrow.BufferOutputStream()
    names = _columns(rows)
    try:
        table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
    except pyarrow.ArrowException as error:
        raise DataError("the values of a column are of several kinds", why=str(error),
                        fix="write a .jsonl file") from None
    parquet.write_table(table, written)
    return bytes(written.getvalue())


_FORMATS: dict[str, Callable[[Rows], str | bytes]] = {
    ".jsonl": _jsonl, ".json": _json, ".csv": lambda rows: _cells(rows, ","), ".tsv": lambda rows: _cells(rows, "\t"),
    ".parquet": _parquet}
