"""The runs of a workspace as files tell of them: what each was asked, how far it is, and what came of it.

Nothing is loaded that a model needs, nothing is written, and what a file says is never trusted to be what it should be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from scrimp.core.errors import ScrimpError, WorkspaceError
from scrimp.core.ledger import Ledger, attempted_s
from scrimp.core.workspace import Workspace
from scrimp.evaluation.outcome import WHOLE, Outcome, Rung

__all__ = ["KINDS", "Followed", "Spot", "Tried", "follow", "listed", "same_rows"]

KINDS = ("fit", "tune")  #: of steps that are runs
State = Literal["running", "interrupted", "finished", "damaged"]
_PARTIAL = ".partial"


class Spot(NamedTuple):
    """A step of a training: its number, seconds since the training began, and what was measured; None if not."""

    step: int
    seconds: float
    loss: float | None
    validation: float | None


@dataclass(frozen=True)
class Tried:
    """A way of a run that goes on.

    Attributes:
        name: of the way.
        title: what a person reads.
        seconds: that it took; None until it is finished.
        foreseen_s: that it was foreseen to take; None where that was not said.
        begun: whether it has been; one that was planned has not yet.
    """

    name: str
    title: str
    seconds: float | None = None
    foreseen_s: float | None = None
    begun: bool = False


@dataclass(frozen=True)
class Followed:
    """A run.

    Attributes:
        name: of its folder in the workspace.
        kind: the verb.
        state: ``interrupted`` where it is not finished and no process makes it; the same command goes on with it.
        asked: what was asked for, in the person's words.
        began: when it was first begun, in seconds since the epoch.
        seconds: that its attempts took until their last lines.
        tried: the ways that the ledger tells of, in its order.
        curves: by training, what was measured while it lasted.
        events: what the ledger has, as they came.
        outcome: what came of it; None until it is finished.
        rows: fingerprint of what it was measured on; None where that is not known.
        problem: why its record cannot be read.
    """

    name: str
    kind: str
    state: State
    asked: Mapping[str, Any]
    began: float
    seconds: float
    tried: tuple[Tried, ...]
    curves: Mapping[str, tuple[Spot, ...]]
    events: tuple[Mapping[str, Any], ...]
    outcome: Outcome | None = None
    rows: str | None = None
    problem: str = ""

    @property
    def title(self) -> str:
        """What it learns from, as a person calls it."""
        data = self.asked.get("data")
        return Path(data).name or data if isinstance(data, str) and data else "rows given in Python"

    @property
    def limit_s(self) -> float | None:
        """Seconds that it may take; None where that was not said."""
        budget = self.asked.get("budget")
        found = budget.get("time") if isinstance(budget, Mapping) else None
        return float(found) if isinstance(found, int | float) and math.isfinite(found) and found > 0 else None

    @property
    def rungs(self) -> Sequence[Rung]:
        """The ways of a finished run that were not skipped, the best first."""
        if self.outcome is None:
            return ()
        winner = self.outcome.winner
        return sorted((rung for rung in self.outcome.rungs if rung.skipped is None),
                      key=lambda rung: rung.name != winner)


def listed(root: Path) -> list[Followed]:
    """All runs of the workspace, the latest first.

    Raises:
        WorkspaceError: the folder is no workspace, or cannot be read.
    """
    names = _names(root)
    if not names:
        return []
    space = Workspace(root)
    found = [run for name in names if (run := _read(space, name)) is not None]
    return sorted(found, key=lambda run: (-run.began, run.name))


def follow(root: Path, name: str) -> Followed | None:
    """The run of that name; None if there is none.

    Raises:
        WorkspaceError: as of `listed`.
    """
    return _read(Workspace(root), name) if name in _names(root) else None


def _names(root: Path) -> set[str]:
    if not root.exists():
        return set()
    try:
        return {path.name.removesuffix(_PARTIAL) for path in root.iterdir()
                if path.is_dir() and path.name.split("-")[0] in KINDS}
    except OSError as error:
        raise WorkspaceError("cannot be read", where=str(root), why=error.strerror) from None


def same_rows(runs: Sequence[Followed]) -> list[list[Followed]]:
    """Finished runs in groups whose scores may be set beside each other: one metric, measured on the same rows."""
    groups: dict[tuple[str, str], list[Followed]] = {}
    for run in runs:
        if run.outcome is not None:
            key = str(run.outcome.asked.get("metric")), run.rows or run.name
            groups.setdefault(key, []).append(run)
    return list(groups.values())


def _read(space: Workspace, name: str) -> Followed | None:
    folder = space.root / name
    finished = folder.is_dir()
    if not finished:
        folder = space.root / f"{name}{_PARTIAL}"
    try:
        events = _events(folder / "ledger.jsonl", *_stamp(folder / "ledger.jsonl"))
    except (OSError, ScrimpError):
        return None  # nothing has been written yet, or it has just been renamed
    state: State = "finished" if finished else "running" if space.busy(name) else "interrupted"
    outcome, rows, problem = None, None, ""
    if finished:
        try:
            outcome = _outcome(folder / "scores.json", *_stamp(folder / "scores.json"))
            rows = _rows(folder / "step.json")
        except (OSError, ValueError, ScrimpError) as error:
            state, problem = "damaged", str(error)
    asked: Any = outcome.asked if outcome else next(
        (event["asked"] for event in reversed(events) if isinstance(event.get("asked"), dict)), {})
    times = [_number(event.get("at")) or 0.0 for event in events]
    return Followed(
        name=name, kind=name.split("-")[0], state=state, asked=asked, began=min(times, default=0.0),
        seconds=outcome.bill.wall_s if outcome else attempted_s(events), tried=_tried(events), curves=_curves(events),
        events=events, outcome=outcome, rows=rows, problem=problem)


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=256)
def _outcome(path: Path, *_: int) -> Outcome:
    return Outcome.load(path)


@lru_cache(maxsize=256)
def _events(path: Path, *_: int) -> tuple[Mapping[str, Any], ...]:
    return tuple(Ledger(path).read())


def _rows(mark: Path) -> str | None:
    """What decides on which rows it was measured: the test rows, else the rows of which a seed held some out."""
    inputs = json.loads(mark.read_text(encoding="utf-8"))["inputs"]
    if not isinstance(inputs, dict):
        return None
    if (test := inputs.get("test")) is not None:
        return str(test)
    asked = inputs.get("asked")
    return f"{inputs.get('train')} {asked.get('seed') if isinstance(asked, dict) else None}"


def _number(value: Any) -> float | None:
    """A number that can be drawn."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _tried(events: Sequence[Mapping[str, Any]]) -> tuple[Tried, ...]:
    """Those that were begun, in order, then those that are only foreseen."""
    titles = {str(event.get("name")): str(event.get("title")) for event in events if event.get("event") == "trying"}
    took = {str(event.get("name")): _number(event.get("wall_s")) for event in events if event.get("event") == "rung"}
    told = {name: _number(one.get("wall_s")) for event in events if event.get("event") == "foreseen"
            for name, one in event.items() if isinstance(one, Mapping) and name != WHOLE}
    return tuple(Tried(name, titles.get(name, name), took.get(name), told.get(name), name in titles or name in took)
                 for name in dict.fromkeys([*titles, *took, *told]))


def _curves(events: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Spot, ...]]:
    """By training; what was done again after a kill takes the place of what came from there on."""
    found: dict[str, list[Spot]] = {}
    began: dict[str, float] = {}
    for event in events:
        step, at = _number(event.get("step")), _number(event.get("at"))
        if event.get("event") != "step" or step is None or at is None:
            continue
        training = str(event.get("training"))
        spots = found.setdefault(training, [])
        while spots and spots[-1].step > step:
            spots.pop()
        spots.append(Spot(int(step), at - began.setdefault(training, at), _number(event.get("loss")),
                          _number(event.get("validation"))))
    return {training: tuple(spots) for training, spots in found.items()}
