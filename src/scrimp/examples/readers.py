"""Files, folders and hub data as raw rows: their fields as they stand there, each with its source."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scrimp.core.errors import DataError, nearest
from scrimp.examples.badrows import BadRow
from scrimp.examples.decoding import decode, load_bytes
from scrimp.examples.jsontext import Flaw, json_items, json_value

__all__ = ["HUB", "Raw", "Table", "from_folder", "from_hub", "from_path", "from_rows"]

HUB = "hub:"
_TEXT_FILES = (".txt", ".text", ".md")


@dataclass(frozen=True)
class Raw:
    """A row as it was found."""

    source: str
    fields: dict[str, Any]


@dataclass
class Table:
    """Rows as they were found, in order, those that are not even rows, and what to say about the reading.

    Attributes:
        reason: why the fields mean what they mean, where the container says so (a folder of folders), else empty.
        headed: whether names stand in one first line, which may have been forgotten.
    """

    name: str
    rows: list[Raw | BadRow]
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    headed: bool = False


def from_path(path: Path) -> Table:
    """The rows of a file, by its extension, or of a folder.

    Raises:
        DataError: if it is not there, no kind that is known, cannot be read or is damaged as a whole.
    """
    kind = _kind(path)
    if kind == "folder":
        return from_folder(path)
    if kind != "file":
        raise DataError(f"is {kind}", where=str(path), fix="give a file or a folder")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(f"files named '{path.suffix or path.name}' are not read; {nearest(suffix, _READERS)}",
                        where=str(path), fix="unpack or convert it, or give a folder of .txt files")
    return _READERS[suffix](path)


def _kind(path: Path) -> str:
    try:
        if path.is_dir():
            return "folder"
        if path.is_file():
            return "file"
        if path.exists():
            return "neither a file nor a folder"
    except OSError as error:
        return f"not readable ({error.strerror})"
    if path.is_symlink():
        return "a link that leads nowhere"
    beside = os.listdir(path.parent) if path.parent.is_dir() and os.access(path.parent, os.R_OK) else []
    raise DataError(f"there is no such file; {nearest(path.name, beside, limit=8)}", where=str(path))


def from_rows(rows: list[Any]) -> Table:
    """Rows given from Python."""
    return Table("rows", [_row(f"rows:{n}", row) for n, row in enumerate(rows, 1)])


def _row(source: str, value: Any) -> Raw | BadRow:
    if isinstance(value, Flaw):
        return BadRow(source, value.why)
    if not isinstance(value, dict):
        return BadRow(source, f"a row is an object with named fields, and this is a {type(value).__name__}")
    if not all(isinstance(key, str) for key in value):
        return BadRow(source, "a field's name is no text")
    return Raw(source, value)


def _jsonl(path: Path) -> Table:
    return _lines(path.name, *decode(load_bytes(path), path.name))


def _lines(name: str, text: str, notes: list[str]) -> Table:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = [_row(f"{name}:{n}", json_value(line)) for n, line in enumerate(lines, 1) if line.strip(" \t")]
    return Table(name, rows, notes)


def _json(path: Path) -> Table:
    text, notes = decode(load_bytes(path), path.name)
    if not text.strip():
        return Table(path.name, [], notes)
    items = json_items(text, path.name)
    if items is None:
        return _lines(path.name, text, [*notes, f"{path.name} holds one JSON object a line"])
    return Table(path.name, [_row(f"{path.name}:{line}", value) for line, value in items], notes)


def _csv(path: Path) -> Table:
    return _cells(path, ",")


def _tsv(path: Path) -> Table:
    return _cells(path, "\t")


def _cells(path: Path, delimiter: str) -> Table:
    text, notes = decode(load_bytes(path), path.name)
    first = text.split("\n", 1)[0]
    if delimiter == "," and "," not in first and ";" in first:
        delimiter = ";"
        notes.append(f"{path.name} is separated by semicolons")
    with _large_fields():
        records = list(_records(text, delimiter, path.name))
    if not records:
        return Table(path.name, [], notes)
    header = records.pop(0)
    if isinstance(header, BadRow):
        raise DataError("the header cannot be read", where=header.source, why=header.why)
    names = [name.strip() for name in header[1]]
    _check_header(names, header[0])
    rows = [record if isinstance(record, BadRow) else _celled(names, *record) for record in records]
    return Table(path.name, rows, notes, headed=True)


@contextmanager
def _large_fields() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[str, list[str]] | BadRow]:
    """The records that are not empty, each with the line that it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        source = f"{name}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            why = "a quote that opens here is never closed" if "end of data" in str(error) else str(error)
            yield BadRow(source, why)
            continue
        if cells:
            yield source, cells


def _check_header(names: list[str], source: str) -> None:
    named = [name for name in names if name]
    doubled = sorted({name for name in named if named.count(name) > 1})
    if doubled or not named:
        raise DataError("the first line must name the columns, each by a name of its own", where=source,
                        why=f"named twice: {', '.join(doubled)}" if doubled else "it is empty",
                        fix="put a header on the first line")


def _celled(names: list[str], source: str, cells: list[str]) -> Raw | BadRow:
    if len(cells) != len(names):
        return BadRow(source, f"has {len(cells)} cells where the header has {len(names)}")
    return Raw(source, {name: cell for name, cell in zip(names, cells, strict=True) if name})


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        if len(set(table.column_names)) < len(table.column_names):
            raise DataError("two columns have the same name", where=str(path), why=", ".join(table.column_names))
        values = [row for batch in table.to_batches() for row in batch.to_pylist()]
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError("cannot be read as Parquet", where=str(path), why=str(error).split("\n")[0][:300]) from None
    return Table(path.name, [_row(f"{path.name}:{n}", value) for n, value in enumerate(values, 1)])


_READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _tsv, ".parquet": _parquet,
}


def from_folder(root: Path) -> Table:
    """A folder of text files, each a document; or of folders of text files, each folder's name a label.

    Raises:
        DataError: if it holds neither, or both.
    """
    root = root.absolute()
    files, folders, others = _listing(root)
    if files and folders:
        raise DataError("holds text files and folders", where=str(root), why=f"such as {files[0].name} and "
                        f"{folders[0].name}", fix="put all files into folders named for their labels, or none")
    if not files and not folders:
        hint = f"; it holds {others[0].name}: give that file itself" if others else ""
        raise DataError(f"holds no text files ({', '.join(_TEXT_FILES)}){hint}", where=str(root))
    table = Table(root.name, [], reason="a folder of text files, each a document" if files else
                  "a folder of folders, each named for its label")
    encodings: list[str] = []
    table.rows += [_document(root, file, {}, encodings) for file in files]
    for folder in folders:
        table.rows += _labelled(root, folder, others, encodings)
    if encodings:
        table.notes.append(encodings[0] + (f", as were {len(encodings) - 1} more" if len(encodings) > 1 else ""))
    if others:
        table.notes.append(f"{len(others)} files that are no text files were left out, such as {others[0].name}")
    return table


def _listing(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Text files, folders and other files, by name; hidden ones are passed over."""
    try:
        inside = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise DataError("cannot be read", where=str(folder), why=error.strerror) from None
    folders = [p for p in inside if p.is_dir()]
    files = [p for p in inside if p not in set(folders)]
    return ([p for p in files if p.suffix.lower() in _TEXT_FILES], folders,
            [p for p in files if p.suffix.lower() not in _TEXT_FILES])


def _labelled(root: Path, folder: Path, others: list[Path], encodings: list[str]) -> list[Raw | BadRow]:
    if folder.resolve() in (root.resolve(), *root.resolve().parents):
        return [BadRow(f"{root.name}/{folder.name}", "is a link to a folder that it lies in")]
    files, folders, rest = _listing(folder)
    others += rest
    deeper: list[Raw | BadRow] = [BadRow(f"{root.name}/{p.relative_to(root)}", "is a folder within a label's folder")
                                  for p in folders]
    return [_document(root, file, {"label": folder.name}, encodings) for file in files] + deeper


def _document(root: Path, file: Path, fields: dict[str, str], encodings: list[str]) -> Raw | BadRow:
    source = f"{root.name}/{file.relative_to(root)}"
    try:
        text, notes = decode(load_bytes(file), source)
    except DataError as error:
        return BadRow(source, f"{error.what}{f' ({error.why})' if error.why else ''}")
    encodings += notes
    return Raw(source, {"text": text.rstrip("\r\n"), **fields})


def from_hub(address: str, split: str | None) -> Table:
    """The rows of ``hub:owner/name`` or ``hub:owner/name:configuration``; class numbers become class names.

    Args:
        address: as above.
        split: None is ``train``.

    Raises:
        DataError: if it cannot be had, with what to do.
    """
    name, _, configuration = address.removeprefix(HUB).partition(":")
    split = split or "train"
    try:
        import datasets

        data = datasets.load_dataset(name, configuration or None, split=split)
    except Exception as error:  # the library raises whatever its network, parsers and file systems raise
        raise DataError(f"the data set cannot be had (split '{split}')", where=address,
                        why=f"{type(error).__name__}: {str(error).strip().split(chr(10))[0][:300]}",
                        fix="check name, configuration (hub:owner/name:configuration) and split; offline, download it "
                            "elsewhere and give a file") from None
    classes = {column: kind for column, kind in data.features.items()
               if hasattr(getattr(kind, "feature", kind), "int2str")}
    rows: list[Raw | BadRow] = []
    for n, row in enumerate(data, 1):
        for column, kind in classes.items():
            row[column] = _class_names(kind, row[column])
        rows.append(_row(f"{address}[{split}]:{n}", row))
    return Table(address, rows)


def _class_names(kind: Any, found: Any) -> Any:
    """Of one class, or of a list of them."""
    if isinstance(found, list):
        return [_class_name(kind.feature, number) for number in found]
    return _class_name(getattr(kind, "feature", kind), found)


def _class_name(kind: Any, number: Any) -> str | None:
    return kind.int2str(number) if isinstance(number, int) and number >= 0 else None
