"""What went wrong, where, why, and what to do about it: every failure that a person can meet is one of these.

Each class has an exit code of its own, so that a script can tell a bad row from a spent budget.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AssetError", "BudgetError", "DataError", "GuardError", "ModelError", "OptionError", "ScrimpError",
    "Stopped", "WorkspaceError", "nearest",
]


class ScrimpError(Exception):
    """A failure told in one breath.

    Args:
        what: one sentence, no full stop needed.
        where: the file, line, option or tensor concerned.
        why: the reason, where it is not plain from ``what``.
        fix: what the person can do now.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: str | None = None, why: str | None = None, fix: str | None = None
    ) -> None:
        self.what, self.where, self.why, self.fix = what, where, why, fix
        super().__init__(self.told())

    def told(self) -> str:
        """The whole message, one line a part."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return "\n".join([head, *(f"  {k}: {v}" for k, v in (("why", self.why), ("fix", self.fix)) if v)])

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.why, self.fix))


def _rebuild(cls: type[ScrimpError], what: str, where: str | None, why: str | None, fix: str | None) -> ScrimpError:
    return cls(what, where=where, why=why, fix=fix)


class OptionError(ScrimpError):
    """An option, method name or recipe key that does not exist or has a value that it cannot have."""

    exit_code = 2


class DataError(ScrimpError):
    """Examples that cannot be read or used as asked."""

    exit_code = 3


class ModelError(ScrimpError):
    """A model folder, adapter or file that cannot be loaded, or that is not safe to load."""

    exit_code = 4


class BudgetError(ScrimpError):
    """A declared budget that cannot be met, or that is spent."""

    exit_code = 5


class GuardError(ScrimpError):
    """A guard found that the result would be silently wrong."""

    exit_code = 6


class WorkspaceError(ScrimpError):
    """The workspace, the cache or an output folder cannot be read, written or locked."""

    exit_code = 7


class AssetError(ScrimpError):
    """An embedded model or data set that cannot be obtained or fails its checksum."""

    exit_code = 8


class Stopped(ScrimpError):
    """A person asked to stop (Ctrl-C); everything up to the last step is saved."""

    exit_code = 130


def nearest(name: str, known: Iterable[str], limit: int = 20) -> str:
    """A hint for a mistyped ``name``: the closest known one first, then what there is."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:limit]) + (f" ... ({len(known)} in all)" if len(known) > limit else "")
    return (f"did you mean '{close[0]}'? " if close else "") + f"known: {listed or 'none'}"
