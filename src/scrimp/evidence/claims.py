"""What a claim is: the arms, the inequalities between their scores, and the function that tries one arm with one seed.

A claim is one short file, ``evidence/<family>/<name>.py``, with one function under `claim`.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Options

if TYPE_CHECKING:
    from scrimp.evidence.lab import Lab

__all__ = ["Claim", "Inequality", "all_claims", "claim", "claims_folder", "find"]

Measures = Mapping[str, float]
Scores = Mapping[str, Mapping[int, Measures]]  # arm -> seed -> measures
Trial = Callable[..., Measures]

_INEQUALITY = re.compile(
    r"(?P<measure>[^:]+): *(?P<left>[^<>=]+?) *(?P<relation><=|>=|<|>) *"
    r"(?:(?P<factor>[\d.]+) *\* *)?(?P<right>[^<>=*]+?)"
    r"(?: +(?P<sign>[+-]) +(?P<margin>[\d.e-]+))?")
_MOST_POINTS = 6


@dataclass(frozen=True)
class Inequality:
    """``measure: left < factor * right + margin``, of two arms or of an arm and a number.

    Attributes:
        text: as it was written.
        measure, left, relation, factor, right, margin: its parts; ``right`` is a number where no arm has its name.
    """

    text: str
    measure: str
    left: str
    relation: Literal["<", ">", "<=", ">="]
    factor: float
    right: str | float
    margin: float

    @classmethod
    def parse(cls, text: str, arms: Sequence[str]) -> Self:
        """Raises: OptionError: if it cannot be read, or names no arm."""
        found = _INEQUALITY.fullmatch(text.strip())
        if found is None:
            raise OptionError(f"'{text}' is no inequality",
                              fix="write 'measure: arm < other' or 'measure: arm > 0.9 * other - 0.02'")
        left, right = found["left"], found["right"]
        try:
            other: str | float = right if right in arms else float(right)
        except ValueError:
            raise OptionError(f"there is no arm '{right}' in '{text}'; {nearest(right, arms)}") from None
        if left not in arms:
            raise OptionError(f"there is no arm '{left}' in '{text}'; {nearest(left, arms)}")
        margin = float(found["margin"] or 0) * (-1 if found["sign"] == "-" else 1)
        return cls(text, found["measure"].strip(), left, found["relation"],  # type: ignore[arg-type]
                   float(found["factor"] or 1), other, margin)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that it compares."""
        return (self.left, self.right) if isinstance(self.right, str) else (self.left,)

    @property
    def strict(self) -> bool:
        """Whether equality breaks it."""
        return self.relation in "<>"

    def gaps(self, scores: Scores, seeds: Sequence[int]) -> list[float]:
        """For each seed, by how much it is true; negative where it is not."""
        way = 1 if self.relation.startswith(">") else -1
        return [way * (scores[self.left][seed][self.measure] - self.bound(scores, seed)) for seed in seeds]

    def bound(self, scores: Scores, seed: int) -> float:
        """What the left arm's score is compared with."""
        other = scores[self.right][seed][self.measure] if isinstance(self.right, str) else self.right
        return self.factor * other + self.margin


class Declared(Options):
    """What a claim's file says of it.

    Attributes:
        papers: ids of the catalogue.
        says: the claim, in one or two sentences.
        holds_if: inequalities, all of which must be true; see `Inequality`.
        arms: name -> what the function is given in this arm. Controls are arms.
        search: option -> values, tried for each arm on seeds of their own; or arm -> such a mapping, each of the same
            number of points.
        tuned_for, better: the measure by which the search chooses, and its good direction.
        methods: the registered methods on trial, as family/name.
        unequal: why the arms are not at equal cost, where they are not.
        minutes: it is meant to cost, on two cores.
    """

    papers: tuple[int, ...] = Field(min_length=1)
    says: str = Field(min_length=20)
    holds_if: tuple[str, ...] = Field(min_length=1)
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    search: dict[str, Any] = {}
    tuned_for: str | None = None
    better: Literal["lower", "higher"] = "lower"
    methods: tuple[str, ...] = ()
    unequal: str | None = None
    minutes: float = Field(10, gt=0)

    @model_validator(mode="after")
    def _fair(self) -> Self:
        if self.search and not self.tuned_for:
            raise ValueError("a search needs 'tuned_for', the measure that it goes by")
        sizes = {len(self.points(arm)) for arm in self.arms}
        if len(sizes) > 1:
            raise ValueError("every arm is searched with the same number of points")
        if max(sizes) > _MOST_POINTS:
            raise ValueError(f"at most {_MOST_POINTS} points are searched")
        return self

    def points(self, arm: str) -> list[dict[str, Any]]:
        """What the search tries for an arm; one empty point if there is no search."""
        grid = self.search.get(arm, {}) if set(self.search) & set(self.arms) else self.search
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


@dataclass(frozen=True)
class Claim:
    """A claim with its file.

    Attributes:
        declared: what the file says.
        path: the file; its stem is the claim's name, its folder the family.
        trial: the function: a lab and an arm's options in, measures out.
    """

    declared: Declared
    path: Path
    trial: Trial

    @property
    def name(self) -> str:
        """The stem of its file."""
        return self.path.stem

    @property
    def family(self) -> str:
        """The folder of its file."""
        return self.path.parent.name

    @property
    def note(self) -> Path:
        """Where it is written why it did not hold, and what was tried."""
        return self.path.with_suffix(".md")

    def inequalities(self) -> list[Inequality]:
        """All of which must be true."""
        return [Inequality.parse(text, list(self.declared.arms)) for text in self.declared.holds_if]

    def measured(self, lab: Lab, arm: str, point: Mapping[str, Any]) -> dict[str, float]:
        """The measures of one arm with one seed.

        Raises:
            OptionError: a measure that the claim needs is missing or not finite.
        """
        found = {name: float(value) for name, value in self.trial(lab, **self.declared.arms[arm], **point).items()}
        for inequality in self.inequalities():
            if arm in inequality.arms and not math.isfinite(found.get(inequality.measure, math.nan)):
                raise OptionError(f"arm '{arm}' gives no finite '{inequality.measure}'", where=str(self.path.name),
                                  why=f"it gave {found}")
        return found


def claim(**declared: Any) -> Callable[[Trial], Claim]:
    """Declare the function below as a claim; see `Declared` for what is said of it."""

    def made(trial: Trial) -> Claim:
        path = Path(trial.__code__.co_filename)
        whole = Claim(Declared.parse(declared, where=path.name), path, trial)
        whole.inequalities()
        return whole

    return made


def claims_folder() -> Path:
    """The claims: beside the package if it was installed, in the root of the repository if it is worked on."""
    inside, checkout = Path(__file__).parent / "tried", Path(__file__).parents[3] / "evidence"
    return inside if inside.is_dir() else checkout


def all_claims(folder: Path | None = None) -> list[Claim]:
    """Every claim, sorted by family and name."""
    return [load(path) for path in sorted((folder or claims_folder()).glob("*/*.py"))]


def find(name: str, folder: Path | None = None) -> Claim:
    """The claim of that name.

    Raises:
        OptionError: if there is none, with the nearest.
    """
    paths = {path.stem: path for path in (folder or claims_folder()).glob("*/*.py")}
    if name not in paths:
        raise OptionError(f"there is no claim '{name}'; {nearest(name, paths)}")
    return load(paths[name])


def load(path: Path) -> Claim:
    """The claim that a file declares.

    Raises:
        OptionError: unless it declares exactly one.
    """
    spec = importlib.util.spec_from_file_location(f"scrimp_claim_{path.stem.replace('-', '_')}", path)
    if spec is None or spec.loader is None:
        raise OptionError("is no Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [thing for thing in vars(module).values() if isinstance(thing, Claim)]
    if len(found) != 1:
        raise OptionError(f"declares {len(found)} claims; it must be one", where=str(path))
    return found[0]
