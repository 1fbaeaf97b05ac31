"""The options that verbs and recipes share, each written and described once."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from scrimp.core.budget import Budget
from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Options
from scrimp.examples.records import Layout

__all__ = [
    "Based", "Controls", "Domains", "Keep", "Limit", "Mixing", "Names", "OrText", "Own", "Pairs", "Reading", "Rungs",
    "Seed", "Selecting", "Settings", "Shape", "Source", "Strictness", "TRACKERS", "Tracked", "count_of", "pairs",
    "seed_list",
]

TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")  #: whose clients `scrimp.reports.tracking` knows


def pairs(value: Any) -> Any:
    """``"a=b,c=d"`` as a mapping; anything but text as it is.

    Raises:
        ValueError: if a part of the text has no ``=``.
    """
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in value.split(",")]
    if not all(equals and key.strip() for key, equals, _ in parts):
        raise ValueError(f"'{value}' is no list of pairs; write key=value,key=value")
    return {key.strip(): text.strip() for key, _, text in parts}


def seed_list(given: Any) -> tuple[int, ...]:
    """``0-4`` or ``3,7,9`` as numbers."""
    if isinstance(given, list | tuple):
        return tuple(given)
    if found := re.fullmatch(r"(\d+)-(\d+)", str(given).strip()):
        return tuple(range(int(found[1]), int(found[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*", str(given).strip()):
        return tuple(int(part) for part in str(given).split(","))
    raise ValueError("seeds are written 0-4 or 3,7,9")


def _limit(value: Any) -> Any:
    if isinstance(value, str) and "=" in value:
        return pairs(value)
    return value if isinstance(value, Mapping | Budget) else {"time": value}


def _names(value: Any) -> Any:
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


def _trackers(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in TRACKERS]:
        raise ValueError(f"there is no tracker '{unknown[0]}'; {nearest(unknown[0], TRACKERS)}")
    return names


def _source(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _domains(value: Any) -> Any:
    """``"web.jsonl,law=acts.jsonl"`` as a mapping of names to sources; a file without one is named for itself."""
    if isinstance(value, Mapping):
        return value
    sources = value.split(",") if isinstance(value, str) else value
    if not isinstance(sources, list | tuple) or not all(isinstance(one, str | Path) for one in sources):
        return {"rows": value}  # rows themselves, which have their domain in a column
    named = [(name, source) if equals else (Path(name).stem, name)
             for name, equals, source in (str(one).strip().partition("=") for one in sources)]
    if twice := [name for name, count in Counter(name for name, _ in named).items() if count > 1]:
        raise ValueError(f"two sources are named '{twice[0]}'; give them names: first=a.jsonl,second=b.jsonl")
    return dict(named)


def _keep(value: Any) -> Any:
    """``"5%"`` and ``0.05`` as a share, ``"50"`` and ``50`` as a number of rows."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str):
        share = text.endswith("%")
        try:
            text = float(text[:-1]) / 100 if share else int(text) if text.isdecimal() else float(text)
        except ValueError:
            raise ValueError(f"'{value}' is neither a share nor a number of rows; write 5% or 50") from None
    whole = isinstance(text, int) and not isinstance(text, bool)
    if not (whole and text >= 1) and not (isinstance(text, float) and 0 < text <= 1):
        raise ValueError(f"'{value}' is neither a share nor a number of rows; write 5% or 50")
    return text


def count_of(keep: float, rows: int) -> int:
    """How many of ``rows`` a `Keep` stands for; of a share at least one.

    Raises:
        OptionError: if there are fewer rows.
    """
    if isinstance(keep, float):
        return max(1, round(keep * rows))
    if keep > rows:
        raise OptionError(f"{keep} rows cannot be kept of {rows}", where="keep", fix="keep fewer, or a share: 5%")
    return keep


class OrText:
    """In the JSON schema: may also be written as text (or as a number where that is the short form)."""

    def __init__(self, *types: str) -> None:
        self._types = types or ("string",)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [*({"type": kind} for kind in self._types), handler(core)]}


#: A file, a folder, ``hub:name``, or the rows themselves.
Source = Annotated[str | list[dict[str, Any]], BeforeValidator(_source)]
#: Sources by the name of their domain: ``"web.jsonl,law=acts.jsonl"``, a mapping, or one source.
Domains = Annotated[dict[str, Source], BeforeValidator(_domains), OrText()]
#: ``"10m"``, ``"time=10m,memory=8GiB"`` or a mapping of both.
Limit = Annotated[Budget, BeforeValidator(_limit), OrText("string", "number")]
#: ``"5%"`` or ``0.05`` of the rows, or a number of them.
Keep = Annotated[int | float, BeforeValidator(_keep), OrText()]
#: ``"a=b,c=d"`` or a mapping.
Pairs = Annotated[dict[str, str], BeforeValidator(pairs), OrText()]
#: Of every random choice.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
#: ``"a,b"`` or a list.
Names = Annotated[tuple[str, ...], BeforeValidator(_names), OrText()]


class Strictness(Options):
    """What to do about bad rows."""

    on_bad_row: Literal["fail", "skip"] = Field(
        "fail", description="Stop at rows that cannot be used, or leave them out and say so.")


class Reading(Strictness):
    """How the rows of the data are to be read."""

    layout: Layout | None = Field(
        None, description="What a row is; without it, inferred from the columns, and said.")
    columns: Pairs | None = Field(
        None, description="Which column plays which part, where the names do not tell: text=review,label=stars.")


class Shape(Reading):
    """How the rows of the data are to be understood."""

    instruction: str | None = Field(None, description="What to do, in words; put before each row's text.")


class Based(Options):
    """What stands on a base model."""

    model: str = Field(
        "smollm2-135m", description="The base model: a hub id, a folder, a .gguf file or an asset's name.")


class Settings(Based):
    """What every way of learning from examples can be told."""

    metric: str | None = Field(None, description="The score that decides; without it, what suits the layout.")


class Controls(Options):
    """What features are taken of."""

    encoder: str = Field("minilm", description="The sentence encoder whose features `fit` takes, and which it tunes.")


class Rungs(Options):
    """Which ways `fit` tries."""

    rungs: Names | None = Field(None, description="Which ways to try, by name; without it, the whole ladder.")


class Tracked(Options):
    """Whom a run is told to while it lasts; it is no part of what makes the run, nor of the recipe of what won."""

    track: Annotated[Names, AfterValidator(_trackers)] = Field((), exclude=True, description=(
        f"Trackers that are told curves and findings, with commas: {', '.join(TRACKERS)}."))


class Own(Options):
    """The options of a method that is chosen by name."""

    options: dict[str, Any] = Field({}, description="The method's own options, by name.")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Options that are not known here are the method's."""
        if not isinstance(given, Mapping) or not isinstance(given.get("options", {}), Mapping):
            return given
        own = {name: value for name, value in given.items() if name in cls.model_fields}
        rest = {name: value for name, value in given.items() if name not in own}
        return {**own, "options": {**own.get("options", {}), **rest}} if rest else given


class Selecting(Own):
    """Which rows to keep, and by what."""

    keep: Keep = Field(description="How much of the pool: a share, such as 5% or 0.05, or a number of rows.")
    method: str = Field("k-center", description="Which method.")
    target: Source | None = Field(
        None, description="Rows of what the model is to be good at, for methods that ask for some.")
    balanced: bool = Field(False, description=(
        "Keep the same share of each label: the method chooses within each label on its own."))


class Mixing(Own):
    """In which proportion rows of several domains come."""

    method: str = Field("proportional", description="Which method.")
    size: Keep = Field(1.0, description=(
        "Rows to write: a share of all that there are, such as 5% or 0.05, or a number, which may be more than that."))
    domain: str | None = Field(None, description="The column that names each row's domain, if its source does not.")
