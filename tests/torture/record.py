"""What became of each trial, kept line by line, and the counts that the report is made of."""

from __future__ import annotations

import json
import os
import platform
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["RESULTS", "Kept", "Trial", "machine", "refusal"]

RESULTS = Path(__file__).with_name("results.json")
Outcome = Literal["right", "refused", "failed"]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        group: what it is a trial of: a reader, a verb, a surrounding.
        name: which one of the group.
        outcome: ``right`` (finished, with a correct result), ``refused`` (a clear error), ``failed`` (anything else).
        told: the first line of the error, or what is wrong.
        facts: more of it, for the report.
    """

    group: str
    name: str
    outcome: Outcome
    told: str = ""
    facts: dict[str, Any] | None = None


class Kept:
    """The trials of one part of the campaign, a line each, so that a campaign that ends goes on from there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, trial: Trial) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(trial), ensure_ascii=True) + "\n")

    def __iter__(self) -> Iterator[Trial]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                yield Trial(**json.loads(line))
            except ValueError:
                continue  # cut by a kill

    def names(self) -> set[tuple[str, str]]:
        return {(trial.group, trial.name) for trial in self}

    def counts(self) -> dict[str, dict[str, int]]:
        """How many trials of each group ended in which way."""
        found: dict[str, Counter[str]] = {}
        for trial in self:
            found.setdefault(trial.group, Counter())[trial.outcome] += 1
        return {group: dict(sorted(counted.items())) for group, counted in sorted(found.items())}

    def failures(self, most: int = 50) -> list[dict[str, Any]]:
        return [asdict(trial) for trial in self if trial.outcome == "failed"][:most]


def refusal(error: BaseException) -> str | None:
    """What is unclear about an error that a person meets; None if it says enough.

    A ScrimpError says what, and one of where, why and how to mend it.
    """
    from scrimp.core.errors import ScrimpError

    if not isinstance(error, ScrimpError):
        return f"{type(error).__name__}: {str(error)[:300]}"
    if not error.what.strip() or not (error.where or error.why or error.fix):
        return f"{type(error).__name__} says neither where nor why nor what to do: {error.what[:200]}"
    return None


def machine() -> dict[str, Any]:
    """Where the campaign ran: no name and no path of it."""
    cpu = re.search(r"model name\s*: (.*)",
                    Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    return {"processor": cpu.group(1) if cpu else platform.machine(), "cores_used": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.release()}", "python": platform.python_version()}
