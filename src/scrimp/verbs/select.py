"""Which rows to learn from: `select`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from scrimp.core.budget import Bill, Meter
from scrimp.core.options import Options
from scrimp.core.progress import say
from scrimp.core.registry import build
from scrimp.core.workspace import Workspace, atomic_write
from scrimp.recipes.fields import Reading, Seed, Selecting, Source, count_of
from scrimp.verbs.base import Verb, Workspaced

__all__ = ["Select", "Selected"]


class Selected(Options):
    """What was kept of how many rows, where it is, in the method's words why, and what that cost."""

    out: Path
    kept: int
    of: int
    why: str
    bill: Bill


class Select(Verb, Selecting, Reading, Workspaced):
    """Keep the rows of a pool that are worth learning from, by a method of your choice.

    Leaves a JSONL file with the rows that were kept, the best first. Every option that is not listed here is an option
    of the method; `scrimp methods selection` lists what there is.
    """

    positional = ("data",)
    rest = "options"
    examples = (
        "scrimp select pool.jsonl --method k-center --keep 5% --out chosen.jsonl",
        "scrimp select pool.csv --method random --keep 100 --out chosen.jsonl",
    )

    data: Source = Field(description="The pool: a file, a folder of texts, hub:name, or in Python the rows themselves.")
    out: Path = Field(description="JSONL file to write, all at once.")
    encoder: str = Field("minilm", description="The sentence encoder of the methods that compare rows.")
    model: str = Field("smollm2-135m", description="The language model of the methods that ask one.")
    seed: Seed = Field(0, description="Of every random choice.")

    def do(self) -> Selected:
        from scrimp.signals import Signals

        method, meter = build("selection", self.method, self.options, where="scrimp select"), Meter()
        pool = self._read(self.data)
        target = self._read(self.target) if self.target is not None else None
        keep = count_of(self.keep, len(pool))
        signals = Signals(self.encoder, model=self.model, workspace=Workspace(self.workspace), meter=meter)
        found = method.select(pool, keep, signals=signals, target=target, seed=self.seed)
        found.checked(pool, keep, by=self.method)
        rows = pool.subset(found.indices.tolist()).rows
        atomic_write(self.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return Selected(out=self.out, kept=keep, of=len(pool), why=found.why, bill=meter.close())

    def _read(self, source: Any) -> Any:
        from scrimp.examples.formats import read

        examples = read(source, layout=self.layout, columns=self.columns, on_bad_row=self.on_bad_row)
        for note in examples.notes:
            say(note)
        return examples
