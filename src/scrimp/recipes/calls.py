"""What a recipe asks for: one call of a verb for each seed, with paths taken from the recipe's folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrimp.recipes.schema import Recipe

__all__ = ["Call", "calls"]


@dataclass(frozen=True)
class Call:
    """A verb by name, and its options."""

    verb: str
    options: dict[str, Any]


def calls(recipe: Recipe, folder: Path, out: Path) -> list[Call]:
    """The calls that ``recipe``, written in ``folder``, stands for; several seeds get a folder each below ``out``.

    Rows that a select step keeps stand in a file beside the results, which the last step learns from.
    """
    given = recipe.model_dump(exclude_unset=True, include={"model", "metric", "encoder", "budget"})
    data = recipe.data.model_dump(exclude_unset=True)
    options = {**given, **data, "data": data["train"]}
    del options["train"]
    for name in options.keys() & {"data", "test"}:
        options[name] = _source(options[name], folder)
    for name in options.keys() & {"model", "encoder"}:
        options[name] = _model(options[name], folder)
    options |= {"method": recipe.options} if recipe.verb == "tune" else recipe.options
    several = len(recipe.seeds) > 1
    made = [Call(recipe.verb, {**options, "seed": seed, "out": str(out / f"seed-{seed}" if several else out)})
            for seed in recipe.seeds]
    if (selecting := recipe.selecting) is None:
        return made
    if selecting.get("target") is not None:
        selecting["target"] = _source(selecting["target"], folder)
    return [call for learn in made for call in _selected(learn, selecting)]


def _selected(learn: Call, selecting: dict[str, Any]) -> tuple[Call, Call]:
    """A selection from what would be learned from, and the learning from what it keeps."""
    pool, chosen = learn.options, f"{learn.options['out']}.selected.jsonl"
    read_by = {"data", "seed", "layout", "columns", "encoder", "on_bad_row"}
    shared = {name: value for name, value in pool.items() if name in read_by}
    done = {"data"} | ({"encoder"} if learn.verb == "tune" else set())
    rest = {name: value for name, value in pool.items() if name not in done}
    return Call("select", {**selecting, **shared, "out": chosen}), Call(learn.verb, {**rest, "data": chosen})


def _source(source: Any, folder: Path) -> Any:
    """A path as seen from the recipe; rows and ``hub:name`` as they are."""
    if not isinstance(source, str) or source.startswith("hub:"):
        return source
    return os.path.normpath(folder / Path(source).expanduser())


def _model(name: str, folder: Path) -> str:
    """A model beside the recipe by its path; a hub id or an asset's name as it is."""
    beside = os.path.normpath(folder / Path(name).expanduser())
    return beside if os.path.exists(beside) else name
