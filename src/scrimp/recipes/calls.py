"""What a recipe asks for: one call of a verb for each seed, with paths taken from the recipe's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrimp.recipes.schema import Recipe

__all__ = ["Call", "calls", "placed_model", "placed_source"]

_LEFT = {"select": "selected", "mix": "mixed"}  # verb -> what its rows are called
_READING = {"seed", "layout", "columns", "on_bad_row"}
_READ = {"select": {*_READING, "encoder"}, "mix": _READING}  # verb -> what it is told beside its step's options


@dataclass(frozen=True)
class Call:
    """A verb by name, and its options."""

    verb: str
    options: dict[str, Any]


def calls(recipe: Recipe, folder: Path, out: Path) -> list[Call]:
    """The calls that ``recipe``, written in ``folder``, stands for; several seeds get a folder each below ``out``.

    Rows that a step before the last keeps or mixes stand in a file beside the results, which the next step reads.
    """
    given = recipe.model_dump(exclude_unset=True, include={"model", "metric", "encoder", "budget"})
    if recipe.track:
        given["track"] = recipe.track
    data = recipe.data.model_dump(exclude_unset=True)
    options = {**given, **data, "data": data["train"]}
    del options["train"]
    for name in options.keys() & {"data", "test", "unlabelled"}:
        options[name] = placed_source(options[name], folder)
    for name in options.keys() & {"model", "encoder"}:
        options[name] = placed_model(options[name], folder)
    options |= {"method": recipe.options} if recipe.verb == "tune" else recipe.options
    several = len(recipe.seeds) > 1
    made = [Call(recipe.verb, {**options, "seed": seed, "out": str(out / f"seed-{seed}" if several else out)})
            for seed in recipe.seeds]
    before = [Call(step.verb, step.options) for step in recipe.preparing]
    for call in before:
        if call.options.get("target") is not None:
            call.options["target"] = placed_source(call.options["target"], folder)
    return [call for learn in made for call in _prepared(learn, before)]


def _prepared(learn: Call, before: Sequence[Call]) -> Iterator[Call]:
    """What makes the rows that are learned from, and the learning; each step reads what the one before it left."""
    given, data = learn.options, learn.options["data"]
    for call in before:
        left = f"{given['out']}.{_LEFT[call.verb]}.jsonl"
        shared = {name: value for name, value in given.items() if name in _READ[call.verb]}
        yield Call(call.verb, {**call.options, **shared, "data": data, "out": left})
        data = left
    done = {"encoder"} if learn.verb == "tune" and any(call.verb == "select" for call in before) else set[str]()
    rest = {name: value for name, value in given.items() if name not in done}
    yield Call(learn.verb, {**rest, "data": data})


def placed_source(source: Any, folder: Path) -> Any:
    """A path as seen from the recipe, of each domain where there are several; rows and ``hub:name`` as they are."""
    if isinstance(source, dict):
        return {name: placed_source(one, folder) for name, one in source.items()}
    if not isinstance(source, str) or source.startswith("hub:"):
        return source
    return os.path.normpath(folder / Path(source).expanduser())


def placed_model(name: str, folder: Path) -> str:
    """A model beside the recipe by its path; a hub id or an asset's name as it is."""
    beside = os.path.normpath(folder / Path(name).expanduser())
    return beside if os.path.exists(beside) else name
