"""Several models of one shape made into one: `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from scrimp.core.errors import OptionError, WorkspaceError
from scrimp.recipes.fields import Names, Seed
from scrimp.verbs.base import Verb, held, own_option

__all__ = ["Merge"]


class Merge(Verb):
    """Merge models of one shape into one, without training.

    Each is a folder, a finished run, an adapter of the base, an asset's name or a hub id. They are read and written
    tensor by tensor; the result is a folder that plain transformers loads, and it counts only when its logits are those
    of the merge. Every option that is not listed here is one of the method's, such as weights, scale, density or
    toward; `scrimp methods merging NAME` lists them.
    """

    positional = ("models",)
    rest = "options"
    examples = (
        "scrimp merge run-1 run-2 --base smollm2-135m --method soup --out soup",
        "scrimp merge a b --base model --method ties --density 0.3 --out merged",
        "scrimp merge run --base model --method wise-ft --toward 0.3 --out safe",
    )

    models: Names = Field(min_length=1, description="What is merged: folders, runs, adapters of the base, or names.")
    out: Path = Field(description="Folder to write; it must not exist yet, or be empty.")
    method: str = Field("task-arithmetic", description="How, by name; `scrimp methods merging` lists what there is.")
    base: str | None = Field(None, description="The model that all were tuned from; adapters are put on it.")
    seed: Seed = Field(0, description="Of every random choice.")
    options: dict[str, Any] = Field({}, description="The method's own options, by name.")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Options that are not the verb's own are the method's."""
        rest = {name: value for name, value in given.items() if name not in cls.model_fields}
        own = {name: given[name] for name in given if name not in rest}
        return {**own, "options": {**own.get("options", {}), **rest}} if rest else own

    def do(self) -> Path:
        from scrimp.surgery.merging.folders import merge_folders

        method = self._method()
        if held(self.out):
            raise WorkspaceError("is not empty", where=str(self.out), fix="give another folder as out")
        return merge_folders(method, self.models, self.out, base=self.base, seed=self.seed)

    def _method(self) -> Any:
        from scrimp.core.registry import build

        try:
            return build("merging", self.method, self.options, where="scrimp merge")
        except OptionError as error:
            raise OptionError(error.what, where=error.where, why=error.why,
                              fix=own_option(error, type(self)) or error.fix) from None
