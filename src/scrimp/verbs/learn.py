"""From examples to a folder that predicts: `fit` and `tune`."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from scrimp.core.budget import Budget
from scrimp.core.errors import OptionError, WorkspaceError
from scrimp.evaluation.outcome import Outcome
from scrimp.recipes.fields import Controls, Limit, Rungs, Seed, Settings, Shape, Source, Tracked
from scrimp.verbs.base import Verb, Workspaced, held, own_option

__all__ = ["Fit", "Learn", "Tune"]


class Learn(Verb, Settings, Shape, Tracked, Workspaced):
    """What `fit` and `tune` have in common: from examples to a folder that predicts."""

    positional = ("data",)

    data: Source = Field(description="What is learned from: a file (JSONL, JSON, CSV, TSV, Parquet), a folder of "
                                     "texts, hub:name, or in Python the rows.")
    out: Path = Field(description="Folder for the model, the scores, the report and the recipe.")
    test: Source | None = Field(None, description=(
        "What is measured on; without it, rows of the data are held out if there are enough."))
    unlabelled: Source | None = Field(None, description=(
        "Texts without labels: fit learns from them too, and both say which to have labelled next."))
    seed: Seed = Field(0, description="Of every random choice.")
    force: bool = Field(False, description="Write into a folder that holds another run, or no run.")

    def do(self) -> Outcome:
        from scrimp.reports.tracking import tracked

        self._claim()
        with tracked(self.track, self) as tell:
            outcome = self._learn()
            tell(outcome)
        self._leave(outcome)
        return outcome

    @model_validator(mode="after")
    def _trackers(self) -> Self:
        """Before anything is spent, as other options are."""
        from scrimp.reports.tracking import require

        require(self.track)
        return self

    @abstractmethod
    def _learn(self) -> Outcome:
        """Do the work; leaves model, scores and ledger in ``out``."""

    def _claim(self) -> None:
        """Refuse an output folder that is somebody else's."""
        from scrimp.reports.tracking import FOLDER

        names = held(self.out) - {FOLDER}
        if names and not self.force and not names & {"ledger.jsonl", "scores.json"}:
            raise WorkspaceError("holds something that is no scrimp run", where=str(self.out),
                                 fix="give another folder as out, or force to write into this one")

    def _leave(self, outcome: Outcome) -> None:
        """Write what a person reads and runs again."""
        from scrimp.recipes import writing
        from scrimp.reports import page

        best = outcome.best
        tuning = {name: value for name, value in best.chosen.items() if name != "seed"}
        adapted = best.kind == "adapted"
        step = {"tune": tuning} if adapted else {"fit": {"rungs": [*best.chosen.get("weights", ()), best.name]}}
        asked = self.model_copy(update={"model": best.base}) if adapted else self
        writing.write(asked, step, self.out / "recipe.yaml")
        page.write(outcome, self.out / "report.html")


class Fit(Learn, Controls, Rungs):
    """Adapt a model to your examples within a budget, and measure it.

    From a base model, examples and a budget to a folder that predicts, a report, and the recipe of what won. Tries the
    untouched model, trivial controls, frozen features with and without word counts, an encoder tuned as a whole, LoRA,
    and a blend of those that choose from labels or say a score; the best on validation wins, and every way is reported
    by itself. Where a score is to be learned no language model is asked, and always saying the mean is what the others
    are measured against.
    """

    examples = (
        "scrimp fit reviews.csv --budget 10m --out run",
        "scrimp fit train.jsonl --test test.jsonl --budget 1h --out run",
    )

    budget: Limit = Field("10m", validate_default=True, description=(
        "What the whole run may spend: 10m, or time=10m,memory=8GiB,tokens=1000000,disk=2GB."))

    def _learn(self) -> Outcome:
        from scrimp.planning import ladder

        return ladder.climb(self)


class Tune(Learn):
    """Tune a model in exactly the way you spell out, and measure it.

    Every option that is not listed here is a choice of tuning, such as adapter, rank, optimizer, learning_rate,
    schedule, objective, epochs or batch_size; `scrimp methods` lists what there is.
    """

    rest = "method"
    examples = (
        "scrimp tune train.jsonl --out run --adapter lora --rank 16 --epochs 3",
        "scrimp tune train.csv --out run --adapter full --learning-rate 1e-5",
    )

    budget: Limit = Field(
        Budget(), description="What the run may spend: 10m, or time=10m,memory=8GiB; without it, whatever it takes.")
    method: dict[str, Any] = Field({}, description="The choices of tuning, by name.")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Options that are not the verb's own are choices of tuning."""
        if not isinstance(given, dict):
            return given
        method = given.get("method", {})
        rest = {name: value for name, value in given.items() if name not in cls.model_fields}
        if not rest or not isinstance(method, dict):
            return given
        return {**{name: given[name] for name in given if name not in rest}, "method": {**method, **rest}}

    def _learn(self) -> Outcome:
        from scrimp.planning import ladder
        from scrimp.tuning.plan import TunePlan

        try:
            TunePlan.parse(self.method, where="scrimp tune")
        except OptionError as error:
            raise OptionError(error.what, where=error.where, why=error.why,
                              fix=own_option(error, type(self)) or "scrimp methods lists the choices") from None
        return ladder.tune(self)
