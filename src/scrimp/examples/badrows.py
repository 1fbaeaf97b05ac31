"""Rows that cannot be used: collected, and told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scrimp.core.errors import DataError
from scrimp.core.workspace import atomic_write

__all__ = ["SHOWN", "BadRow", "refuse", "skipped"]

SHOWN = 20
_DEFAULT_REPORT = Path("scrimp-bad-rows.txt")


@dataclass(frozen=True)
class BadRow:
    """Where a row stands and why it cannot be used."""

    source: str
    why: str

    def __str__(self) -> str:
        return f"{self.source}: {self.why}"


def refuse(bad: Sequence[BadRow], total: int, *, where: str, report: Path | str | None, fix: str) -> DataError:
    """The error that names the first twenty bad rows; where there are more, all of them are written to a file.

    Args:
        bad: the rows, in order; at least one.
        total: rows looked at, good and bad.
        where: the file or folder.
        report: the file; None is ``scrimp-bad-rows.txt`` in the current folder, written only if there are more.
        fix: what to do.
    """
    written = _write(bad, report)
    lines = [str(row) for row in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"... and {len(bad) - SHOWN} more; all are in {written}")
    why = "\n    ".join(["", *lines])
    return DataError(f"{len(bad)} of {total} rows cannot be used", where=where, why=why, fix=fix)


def skipped(bad: Sequence[BadRow], report: Path | str | None) -> str:
    """A note that tells of rows left out; where there are more than twenty, all of them are written to a file."""
    written = _write(bad, report)
    told = f"see {written}" if written else "; ".join(map(str, bad))
    return f"{len(bad)} row{'s' * (len(bad) > 1)} skipped ({told})"


def _write(bad: Sequence[BadRow], report: Path | str | None) -> Path | None:
    if report is None and len(bad) <= SHOWN:
        return None
    path = Path(report or _DEFAULT_REPORT)
    atomic_write(path, "".join(f"{row}\n" for row in bad))
    return path
