"""What trying a claim gave, and the file that keeps it: ``evidence/results/<name>.json``."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scrimp.core.errors import OptionError, WorkspaceError
from scrimp.core.options import Options
from scrimp.core.registry import Method, lookup
from scrimp.core.workspace import atomic_write, fingerprint
from scrimp.evidence.claims import Claim
from scrimp.evidence.verdicts import Finding, Verdict

__all__ = ["ArmResult", "Result", "Standing", "digest", "kept_in", "standing", "standings"]


class Tried(Options):
    """A point of the search, and the mean of what was tuned for."""

    point: dict[str, Any]
    score: float


class ArmResult(Options):
    """One arm.

    Attributes:
        options: that the search chose.
        searched: all that it tried.
        scores: seed -> measure -> value.
        wall_s, cpu_s: means over the reported seeds, of one thread.
        forward, backward: training work of one seed, in tokens or examples.
        peak_memory: bytes, the largest.
    """

    options: dict[str, Any]
    searched: tuple[Tried, ...]
    scores: dict[int, dict[str, float]]
    wall_s: float
    cpu_s: float
    forward: int
    backward: int
    peak_memory: int


class Result(Options):
    """A claim that was tried.

    Attributes:
        name, family, papers, says, unequal: as declared.
        verdict: of all inequalities together.
        findings: of each.
        arms: what was measured.
        seeds, search_seeds: they share none.
        digest: of the claim's code, its methods' and the numerics version; see `digest`.
        versions, machine: on which it ran.
        seconds: processor time of everything, the search included.
    """

    name: str
    family: str
    papers: tuple[int, ...]
    says: str
    unequal: str | None
    verdict: Verdict
    findings: tuple[Finding, ...]
    arms: dict[str, ArmResult]
    seeds: tuple[int, ...]
    search_seeds: tuple[int, ...]
    digest: str
    versions: dict[str, str]
    machine: str
    seconds: float

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        atomic_write(path, json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read it.

        Raises:
            WorkspaceError: the file is damaged.
        """
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            return cls.parse(given, where=str(path))
        except OptionError as error:
            why = error.what
        except (OSError, ValueError, TypeError, RecursionError) as error:
            why = str(error)
        raise WorkspaceError("is no result", where=str(path), why=why, fix="run the claim again")


def kept_in(claim: Claim, *, replay: bool = False) -> Path:
    """The file of a claim's result, or of its replay with other seeds."""
    folder = claim.path.parents[1] / "results"
    return (folder / "replays" if replay else folder) / f"{claim.name}.json"


def digest(claim: Claim) -> str:
    """Of what decides the result: the claim's code, that of its methods, the lab's models and the numerics version.

    Comments and docstrings are no part of it: rewording makes nothing stale.
    """
    from scrimp.evidence.lab import RECIPES
    from scrimp.planning.ladder import NUMERICS

    methods = [lookup(*name.split("/", 1)) for name in claim.declared.methods]
    files = sorted({claim.path, *(file for preset in methods for file in _files(preset.method))})
    return fingerprint({"numerics": NUMERICS, "lab": RECIPES, "code": [_code(file) for file in files],
                        "presets": [[p.name, dict(p.options)] for p in methods]})[:16]


def _files(method: type[Method]) -> Iterable[Path]:
    """The files of a method's class and of what it inherits from, but for the root of all methods."""
    for cls in method.__mro__:
        if issubclass(cls, Method) and cls is not Method:
            yield Path(inspect.getfile(cls))


def _code(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
                ast.get_docstring(node, clean=False) is not None):
            node.body = node.body[1:]
    return ast.dump(tree)


class Standing(Options):
    """Where a claim stands now.

    Attributes:
        name, family, papers, says: as declared.
        verdict: None while it was never tried.
        stale: whether its code or that of its methods has changed since.
        findings: of its inequalities.
        seconds: processor time that it took.
        seeds: that were reported.
        replayed: whether other seeds gave every effect the same sign; None without a replay of the same code.
        why: where it does not hold, what is written on it.
    """

    name: str
    family: str
    papers: tuple[int, ...]
    says: str
    verdict: Verdict | None = None
    stale: bool = False
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    seeds: tuple[int, ...] = ()
    replayed: bool | None = None
    why: str = ""


def standings(claims: Iterable[Claim]) -> list[Standing]:
    """Where these claims stand, by the results that are kept."""
    return [standing(claim, *(Result.load(path) if path.exists() else None
                              for path in (kept_in(claim), kept_in(claim, replay=True)))) for claim in claims]


def standing(claim: Claim, result: Result | None, replay: Result | None = None) -> Standing:
    """The standing of a claim with this result."""
    told = Standing(name=claim.name, family=claim.family, papers=claim.declared.papers, says=claim.declared.says)
    if result is None:
        return told
    why = claim.note.read_text(encoding="utf-8").strip() if result.verdict != "holds" and claim.note.exists() else ""
    return told.model_copy(update={
        "verdict": result.verdict, "stale": result.digest != digest(claim), "findings": result.findings,
        "seconds": result.seconds, "seeds": result.seeds, "replayed": _keeps_sign(result, replay), "why": why})


def _keeps_sign(result: Result, replay: Result | None) -> bool | None:
    if replay is None or replay.digest != result.digest:
        return None
    return all(now.effect * then.effect > 0 or now.effect == then.effect
               for now, then in zip(replay.findings, result.findings, strict=True))
