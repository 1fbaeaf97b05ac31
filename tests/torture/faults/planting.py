"""How a fault is planted, and where it is tried."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.torture.materials import lines

__all__ = ["At", "FOUND", "Fault", "by", "planted", "tensors"]


_WORDS = [{"prompt": f"go on after {n}", "completion": "seven eight nine ten one two"} for n in range(8)]


@dataclass
class At:
    """Where a fault is tried: the materials, and a folder of its own."""

    good: Path
    folder: Path

    def tune(self, rows: str = "train", model: str = "loud", **choices: Any) -> Any:
        import scrimp

        test = self.good / "rows" / "test.jsonl"
        base = self.loud() if model == "loud" else self.good / model
        asked = {"steps": 8, "batch_size": 4, "rank": 2, "learning_rate": 5e-2} | choices
        return scrimp.tune(str(self.rows(rows)), out=self.folder / "out", workspace=self.folder / "space",
                           model=str(base), **({"test": str(test)} if rows == "train" else {}),
                           **{name: value for name, value in asked.items() if value is not None})

    def loud(self) -> Path:
        """The tiny model with logits as large as those of a trained one, by which differences are seen."""
        loud = self.folder / "loud"
        if not loud.exists():
            shutil.copytree(self.good / "causal", loud)
            tensors(loud / "model.safetensors", lambda held: held | {
                "model.embed_tokens.weight": held["model.embed_tokens.weight"] * 25})
        return loud

    def rows(self, name: str) -> Path:
        if name == "words":
            path = self.folder / "words.jsonl"
            path.write_text(lines(_WORDS))
            return path
        return self.good / "rows" / f"{name}.jsonl"

    def pooled(self, **choices: Any) -> Any:
        return self.tune(model="encoder", objective="classify", **choices)

    def full(self, **choices: Any) -> Any:
        return self.tune(adapter="full", rank=None, learning_rate=1e-3, **choices)

    def run(self, name: str = "labels") -> Path:
        """A copy of a run of the materials, and of its base, by which it is found."""
        copied, base = self.folder / "run", self.folder / "base"
        shutil.copytree(self.good / "runs" / name, copied)
        shutil.copytree(self.good / "causal", base, copy_function=shutil.copy2)
        manifest = copied / "model" / "scrimp.json"
        manifest.write_text(manifest.read_text().replace(str(self.good / "causal"), str(base)))
        return copied

    def export(self, form: str = "merged") -> Any:
        import scrimp

        self.tune()
        return scrimp.export(self.folder / "out", out=self.folder / "exported", form=form)


@dataclass(frozen=True)
class Fault:
    """One of them.

    Attributes:
        name: in words.
        try_it: plants it and runs the verb; what it returns is searched for warnings.
        guard: what should speak, and where it is.
        says: a pattern of what it says.
    """

    name: str
    try_it: Callable[[At], Any]
    guard: str
    says: str


def planted(place: str, made: Callable[[Any], Any]) -> Any:
    """``made`` of what stands at ``place`` (``module.name`` or ``module:Class.name``), put in its place."""
    import importlib

    module, _, name = place.partition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    return mock.patch.object(owner, last, made(owner.__dict__[last]))


def by(place: str, made: Callable[[Any], Any], do: Callable[[At], Any]) -> Callable[[At], Any]:
    def try_it(at: At) -> Any:
        with planted(place, made):
            return do(at)

    return try_it


def tensors(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    held = change({name: value.clone() for name, value in load_file(path).items()})
    path.unlink()
    save_file({name: value.contiguous() for name, value in held.items()}, path, metadata={"format": "pt"})


FOUND = "scrimp.planning.findings: the saved model is loaded and asked again"
