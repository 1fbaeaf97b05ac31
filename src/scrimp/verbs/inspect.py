"""Rows as the model sees them: `inspect`."""

from __future__ import annotations

from pydantic import Field

from scrimp.core.options import Options
from scrimp.core.progress import warn
from scrimp.evaluation.outcome import InspectedRow
from scrimp.recipes.fields import Based, Controls, Shape, Source
from scrimp.verbs.base import Verb

__all__ = ["Inspect", "Inspection"]


class Inspection(Options):
    """Rows as the model sees them, and the totals over all rows."""

    rows: tuple[InspectedRow, ...]
    rows_in_all: int
    tokens: int
    trained_tokens: int
    longest: int
    truncated: int


class Inspect(Verb, Based, Controls, Shape):
    """Show, token by token, what would be trained, and the totals."""

    positional = ("data",)
    examples = ("scrimp inspect train.jsonl", "scrimp inspect train.csv --model org/model --rows 10")

    data: Source = Field(description="The rows: a file, a folder of texts, hub:name, or in Python the rows themselves.")
    rows: int = Field(3, ge=0, description="How many rows to show; the totals are of all.")
    max_tokens: int | None = Field(None, ge=8, description=(
        "Longer rows are cut; 256 for labels and scores, else 1024, without it."))

    def do(self) -> Inspection:
        from scrimp.checkpoints.loading import resolve
        from scrimp.examples.formats import read
        from scrimp.examples.templates import inspect
        from scrimp.planning.rungs import Base

        examples = read(self.data, layout=self.layout, columns=self.columns, on_bad_row=self.on_bad_row,
                        find_scores=True)
        model = self.model if examples.layout.asked else self.encoder
        base = Base(resolve(model), examples, instruction=self.instruction, max_tokens=self.max_tokens)
        found = inspect(examples, base.template, base.loaded.tokenizer, rows=self.rows)
        for warning in found.warnings:
            warn(warning)
        shown = tuple(InspectedRow(source=r.source, tokens=r.tokens, trained=r.trained) for r in found.rows)
        return Inspection(rows=shown, rows_in_all=len(examples), tokens=found.tokens, longest=found.longest,
                          trained_tokens=found.trained_tokens, truncated=found.truncated)
