"""The catalogue: every paper, the names under which it can be had, and where it stands. No status is ever typed.

``planned``: nothing has its name yet. ``reachable``: a method or a recipe has. ``shown``: its evidence ran, and all of
it holds. ``not shown``: its evidence ran, and some of it does not, with the written reason.
"""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from scrimp.core.options import Options
from scrimp.core.registry import Cost, Preset, presets
from scrimp.core.workspace import atomic_write
from scrimp.evidence import results
from scrimp.evidence.claims import Claim, all_claims
from scrimp.evidence.results import Standing

__all__ = ["EXPENSES", "Expense", "Paper", "Row", "Status", "catalogue", "expense", "papers", "standings",
           "tried", "write_names"]

Status = Literal["planned", "reachable", "shown", "not shown"]
Expense = Literal["nothing", "forward", "backward", "calls"]

#: what a method makes models do, the cheapest first
EXPENSES: dict[str, str] = {
    "nothing": "arithmetic on weights or arrays", "forward": "passes forward only",
    "backward": "passes forward and backward", "calls": "a language model writes"}
_BY_FAMILY: dict[str, Expense] = {  # where the cost is one of a model that is not at hand
    **dict.fromkeys(("adapter", "optimizer", "schedule", "clipping", "continual", "unlearning"), "backward"),
    **dict.fromkeys(("compression", "head"), "forward")}


class Paper(Options):
    """A paper: its id, title, kind and family in the catalogue, the names it can be had by, what it does in a line."""

    id: int
    title: str
    kind: str
    family: str
    names: tuple[str, ...]
    line: str


class Row(Paper):
    """A paper with where it stands now.

    Attributes:
        status: computed from the registry and the evidence.
        needs: what its methods ask for, such as signals.
        costs: what its methods make models do, see `EXPENSES`.
        claims: the names of its claims, with their verdicts.
        why: where it is not shown, the written reason.
    """

    status: Status
    needs: tuple[str, ...] = ()
    costs: tuple[Expense, ...] = ()
    claims: dict[str, str] = {}
    why: str = ""


@lru_cache(maxsize=1)
def papers() -> tuple[Paper, ...]:
    """All papers of the catalogue, by id."""
    table = files("scrimp.evidence").joinpath("catalogue.jsonl").read_text(encoding="utf-8")
    return tuple(Paper.parse(json.loads(line), where="catalogue.jsonl") for line in table.splitlines())


@lru_cache(maxsize=1)
def _claims() -> list[Claim]:
    return all_claims()


def standings() -> list[Standing]:
    """Every claim, with its result."""
    return results.standings(_claims())


def tried(method: str) -> list[Standing]:
    """The claims that try a method, given as ``family/name``."""
    return results.standings(claim for claim in _claims() if method in claim.declared.methods)


def catalogue() -> list[Row]:
    """Every paper with its status."""
    methods: Mapping[int, list[Preset]] = _by_paper(presets())
    tried: dict[int, list[Standing]] = defaultdict(list)
    for one in standings():
        for paper in one.papers:
            tried[paper].append(one)
    return [_row(paper, methods.get(paper.id, []), tried.get(paper.id, [])) for paper in papers()]


def expense(preset: Preset) -> Expense:
    """What a method makes models do, from the cost that it declares."""
    if preset.family in _BY_FAMILY:
        return _BY_FAMILY[preset.family]
    declared = getattr(preset.method, "cost", None)
    if declared is None or len(inspect.signature(declared).parameters) > 1:
        return "nothing"
    cost: Cost = preset.build().cost()  # type: ignore[attr-defined]
    return "calls" if cost.calls else "backward" if cost.backward else "forward" if cost.forward else "nothing"


def write_names(path: Path) -> None:
    """Write the names of what scrimp itself registers into the catalogue's file."""
    own = _by_paper([preset for preset in presets() if preset.method.__module__.startswith("scrimp.")])
    lines = [paper.model_copy(update={"names": _names(own.get(paper.id, []))}).model_dump_json() for paper in papers()]
    atomic_write(path, "\n".join(lines) + "\n")


def _names(methods: Sequence[Preset]) -> tuple[str, ...]:
    return tuple(f"{preset.family}/{preset.name}" for preset in methods)


def _by_paper(known: Sequence[Preset]) -> dict[int, list[Preset]]:
    found: dict[int, list[Preset]] = defaultdict(list)
    for preset in known:
        for paper in preset.papers:
            found[paper].append(preset)
    return found


def _row(paper: Paper, methods: Sequence[Preset], tried: Sequence[Standing]) -> Row:
    verdicts = [one.verdict for one in tried if one.verdict]
    status: Status = "planned" if not methods and not tried else "reachable"
    if verdicts:
        status = "shown" if set(verdicts) == {"holds"} else "not shown"
    return Row(
        **paper.model_dump(exclude={"names"}), status=status,
        names=_names(methods),
        needs=tuple(sorted({need for preset in methods for need in preset.method.needs})),
        costs=tuple(sorted({expense(preset) for preset in methods}, key=list(EXPENSES).index)),
        claims={one.name: one.verdict or "not tried" for one in tried},
        why=" ".join(one.why for one in tried if one.why))


if __name__ == "__main__":
    write_names(Path(__file__).with_name("catalogue.jsonl"))
