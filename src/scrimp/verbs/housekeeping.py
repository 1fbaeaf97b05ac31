"""Around the work: `sample` (data to try things on), `schema` (for editors), `clean` (the workspace)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from scrimp.core.options import Bytes, Options
from scrimp.core.workspace import Step, Workspace, atomic_write
from scrimp.examples.datasets import DATASETS
from scrimp.examples.datasets import sample as sample_rows
from scrimp.recipes.fields import Seed
from scrimp.verbs.base import Verb, Workspaced

__all__ = ["Clean", "Cleaning", "Sample", "Schema"]


class Sample(Verb):
    """Write rows of a real data set, to try things on.

    Leaves train.jsonl and test.jsonl in a folder; the test rows are of the data set's own test part.
    """

    positional = ("name",)
    examples = ("scrimp sample vader-films --per-class 32 --test 400 --out data",)

    name: str = Field(description=f"Which data set: {', '.join(DATASETS)}.")
    out: Path = Field(description="Folder to write the two files into.")
    per_class: int = Field(16, ge=1, description="Training rows of each label.")
    test: int = Field(200, ge=0, description="Test rows.")
    seed: Seed = Field(0, description="Of the draw.")

    def do(self) -> list[Path]:
        return list(sample_rows(self.name, self.out, per_class=self.per_class, test=self.test, seed=self.seed))


class Schema(Verb):
    """Give the JSON schema by which editors complete recipes.

    In an editor with a YAML language server, begin the recipe with `# yaml-language-server: $schema=scrimp.json`.
    """

    examples = ("scrimp schema --out scrimp.json", "scrimp schema")

    out: Path | None = Field(None, description="File to write; without it, the schema is printed.")

    def do(self) -> dict[str, Any]:
        from scrimp.recipes.schema import json_schema

        schema = json_schema()
        if self.out:
            atomic_write(self.out, json.dumps(schema, indent=1) + "\n")
        return schema


class Cleaning(Options):
    """What the workspace held, the most recently used first, and what was freed of it."""

    workspace: Path
    steps: tuple[Step, ...]
    freed: tuple[Step, ...] = ()


class Clean(Verb, Workspaced):
    """Show what the workspace holds, and free it with --yes.

    The longest unused goes first. Nothing in the folders of finished runs is touched; what is freed is made again when
    it is needed.
    """

    examples = ("scrimp clean", "scrimp clean --yes", "scrimp clean --quota 2GB --yes")

    quota: Bytes | None = Field(None, description="Keep as much of the most recently used; nothing without it.")
    yes: bool = Field(False, description="Free it, and do not only show.")

    def do(self) -> Cleaning:
        held = Workspace(self.workspace)
        steps = tuple(held.steps())
        freed = tuple(held.clean(quota=self.quota or 0)) if self.yes else ()
        return Cleaning(workspace=self.workspace, steps=steps, freed=freed)
