"""The recipe that does again what a run found best."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from scrimp.core.options import Options
from scrimp.core.workspace import atomic_write
from scrimp.recipes.schema import VERSION, Data
from scrimp.recipes.yamltext import dump

__all__ = ["write"]


def write(request: Options, step: dict[str, Any], path: Path) -> None:
    """Write ``path``: the data, model, budget and seed of ``request``, and ``step`` (a verb's name with its options).

    Rows that were given in memory are written beside it, so that the recipe can be run again.
    """
    given = request.model_dump()
    data = {name: _source(given["data" if name == "train" else name], path.with_name(f"{name}.jsonl"))
            for name in ("train", "test", "unlabelled")}
    data |= {name: given[name] for name in Data.model_fields if name not in data}
    recipe = {"version": VERSION, "model": _model(given["model"], path.parent), "data": _told(data, Data),
              "metric": given["metric"], "budget": {k: v for k, v in given["budget"].items() if v is not None},
              "steps": [step], "evaluate": ["task", "retention"], "seeds": [given["seed"]]}
    if "fit" in step:
        recipe["encoder"] = _model(given["encoder"], path.parent)
    head = f"# What won, to be had again: scrimp run {path.name}\n"
    atomic_write(path, head + dump({key: value for key, value in recipe.items() if value not in (None, {})}))


def _told(given: dict[str, Any], cls: type[Options]) -> dict[str, Any]:
    """Without what is the default anyway."""
    return {name: value for name, value in given.items() if value != cls.model_fields[name].default}


def _source(source: Any, beside: Path) -> str | None:
    """The data as seen from the recipe's folder."""
    if isinstance(source, list):
        atomic_write(beside, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in source))
        return beside.name
    return source if source is None or source.startswith("hub:") else os.path.relpath(source, beside.parent)


def _model(name: str, folder: Path) -> str:
    """A model's folder or file as seen from the recipe's folder; any other name as it is."""
    return os.path.relpath(name, folder) if os.path.exists(name) else name
