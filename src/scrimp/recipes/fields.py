"""The options that verbs and recipes share, each written and described once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from scrimp.core.budget import Budget
from scrimp.core.options import Options
from scrimp.examples.records import Layout

__all__ = [
    "Based", "Controls", "Limit", "Names", "Pairs", "Rungs", "Seed", "Settings", "Shape", "Source", "Strictness",
    "pairs",
]


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


def _limit(value: Any) -> Any:
    if isinstance(value, str) and "=" in value:
        return pairs(value)
    return value if isinstance(value, Mapping | Budget) else {"time": value}


def _names(value: Any) -> Any:
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


def _source(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class OrText:
    """In the JSON schema: may also be written as text (or as a number where that is the short form)."""

    def __init__(self, *types: str) -> None:
        self._types = types or ("string",)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [*({"type": kind} for kind in self._types), handler(core)]}


#: A file, a folder, ``hub:name``, or the rows themselves.
Source = Annotated[str | list[dict[str, Any]], BeforeValidator(_source)]
#: ``"10m"``, ``"time=10m,memory=8GiB"`` or a mapping of both.
Limit = Annotated[Budget, BeforeValidator(_limit), OrText("string", "number")]
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


class Shape(Strictness):
    """How the rows of the data are to be understood."""

    layout: Layout | None = Field(
        None, description="What a row is; without it, inferred from the columns, and said.")
    columns: Pairs | None = Field(
        None, description="Which column plays which part, where the names do not tell: text=review,label=stars.")
    instruction: str | None = Field(None, description="What to do, in words; put before each row's text.")


class Based(Options):
    """What stands on a base model."""

    model: str = Field(
        "smollm2-135m", description="The base model: a hub id, a folder, a .gguf file or an asset's name.")


class Settings(Based):
    """What every way of learning from examples can be told."""

    metric: str | None = Field(None, description="The score that decides; without it, what suits the layout.")


class Controls(Options):
    """What the frozen-features rung stands on."""

    encoder: str = Field("minilm", description="The sentence encoder of the frozen-features rung of `fit`.")


class Rungs(Options):
    """Which ways `fit` tries."""

    rungs: Names | None = Field(None, description="Which ways to try, by name; without it, the whole ladder.")
