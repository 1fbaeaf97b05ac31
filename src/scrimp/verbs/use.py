"""What is done with a finished run and more rows: `predict` and `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from scrimp.core.progress import say
from scrimp.core.workspace import atomic_write
from scrimp.evaluation.outcome import Outcome, Score
from scrimp.recipes.fields import Names, Pairs, Source, Strictness
from scrimp.verbs.base import Verb

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.serving.predictors import Predictor

__all__ = ["Evaluate", "OnRun", "Predict"]


class OnRun(Verb, Strictness):
    """What is done with a finished run and more rows."""

    positional = ("run", "data")

    run: Path = Field(description="Folder of a finished run.")
    data: Source = Field(description="The rows: a file, a folder of texts, hub:name, or in Python the rows themselves.")
    columns: Pairs | None = Field(
        None, description="Which column plays which part, where the names do not tell: text=review,label=stars.")

    def _rows(self, *, require_target: bool) -> Examples:
        """The rows, in the layout that the run learned from."""
        from scrimp.examples.formats import read

        layout = Outcome.load(self.run / "scores.json").data.layout
        examples = read(self.data, layout=layout, columns=self.columns, on_bad_row=self.on_bad_row,
                        require_target=require_target)
        for note in examples.notes:
            say(note)
        return examples

    def _predictor(self) -> Predictor:
        from scrimp.serving.predictors import load_predictor

        return load_predictor(self.run / "model")


class Predict(OnRun):
    """Predict with a finished run: one JSON line a row, in order.

    A line has the number of the row (from 0) and a label, or several, with the probabilities of all labels, a text, or
    a score (with low and high, between which nine of ten scores lie, where that is known). Where bad rows are left out,
    the others are numbered on, and each line names the source of its row.
    """

    examples = ("scrimp predict run new.csv", "scrimp predict run new.jsonl --out predictions.jsonl")

    out: Path | None = Field(None, description="File to write, all at once; without it, the lines are printed.")

    def do(self) -> list[dict[str, Any]]:
        examples = self._rows(require_target=False)
        places = [{"row": row, "source": source} if self.on_bad_row == "skip" else {"row": row}
                  for row, source in enumerate(examples.sources)]
        predictions = self._predictor().predict(examples.rows)
        lines = [{**place, **prediction} for place, prediction in zip(places, predictions, strict=True)]
        if self.out:
            atomic_write(self.out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        return lines


class Evaluate(OnRun):
    """Measure a finished run on more rows, with 95 % intervals."""

    examples = ("scrimp evaluate run test.csv", "scrimp evaluate run test.jsonl --metrics accuracy,macro-f1")

    metrics: Names | None = Field(None, description="Which scores, by name; without it, those that suit the layout.")

    def do(self) -> list[Score]:
        from scrimp.evaluation.tasks import evaluate

        examples = self._rows(require_target=True)
        return list(evaluate(self._predictor(), examples, metrics=self.metrics).scores)
