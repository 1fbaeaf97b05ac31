"""What verbs share that leave some of the rows that they read, with all their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from pydantic import Field

from scrimp.core.errors import DataError, ScrimpError
from scrimp.examples.records import Examples
from scrimp.recipes.fields import Reading, Source
from scrimp.verbs.base import Verb

__all__ = ["Rewriting"]


class Rewriting(Verb, Reading):
    """A verb that writes rows of its data as they were found."""

    positional = ("data",)
    must_answer: ClassVar[bool] = True  # whether rows without label or completion are bad rows

    data: Source = Field(description="The rows: a file, a folder of texts, hub:name, or in Python the rows themselves.")
    out: Path = Field(description="File to write: .jsonl, .json, .csv, .tsv or .parquet, with the fields as they were.")

    def _read(self, source: Any) -> Examples:
        from scrimp.examples.formats import read

        return read(source, layout=self.layout, columns=self.columns, on_bad_row=self.on_bad_row,
                    require_target=self.must_answer, keep_found=True)

    def _write(self, rows: Examples, added: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Write ``rows`` as they were found, with what was ``added`` to each, and tell how they are to be read.

        Returns:
            ``layout`` or ``columns``, where the names of the fields alone do not tell.

        Raises:
            DataError: if they would be read as other rows; nothing is written then.
        """
        from scrimp.examples.writing import write

        fields = [{**found, **more} for found, more in zip(rows.found, added or [{}] * len(rows), strict=True)]
        with TemporaryDirectory() as folder:
            trial = Path(folder) / self.out.name
            write(trial, fields)
            reading = self._reading(trial, rows)
        write(self.out, fields)
        return reading

    def _reading(self, path: Path, rows: Examples) -> dict[str, Any]:
        asked = [{"columns": self.columns}] if self.columns else []
        ways: list[dict[str, Any]] = [{}, *asked, {"layout": rows.layout}, {"columns": dict(rows.columns)}]
        for way in ways:
            if not rows or self._reads_as(path, rows, way):
                return way
        raise DataError("the rows would be read as other rows from such a file", where=str(self.out),
                        why="their fields have several names or kinds, of which it keeps one",
                        fix="write a .jsonl file")

    def _reads_as(self, path: Path, rows: Examples, way: Mapping[str, Any]) -> bool:
        from scrimp.examples.formats import read

        try:
            again = read(path, require_target=self.must_answer, report=path.with_suffix(".txt"), **way)
        except ScrimpError:
            return False
        return again.layout == rows.layout and again.rows == rows.rows
