"""An argument between ways settled: `compare`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from scrimp.core.budget import Bill, Budget, Meter
from scrimp.core.errors import BudgetError, DataError, OptionError, ScrimpError, WorkspaceError
from scrimp.core.interrupts import graceful
from scrimp.core.options import Seconds
from scrimp.core.progress import say
from scrimp.core.workspace import Workspace
from scrimp.planning.comparison import Arm, Comparison, Trial, Try
from scrimp.recipes.fields import Limit, Names, seed_list
from scrimp.verbs.base import Verb, Workspaced, held

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.recipes.arms import RecipeArm
    from scrimp.recipes.calls import Call

__all__ = ["Compare"]

VERSION = 1  # of what a run is asked; bumped by hand when the same run may give other numbers
_SEARCH_SEED, _SEARCHED_SHARE = 1000, 0.2  # of the search, and the rows of the training that judge it
_RECORD = "comparison.json"


def _count_or_list(given: Any) -> tuple[int, ...]:
    """``5`` as the first five seeds, ``0-4`` and ``3,7,9`` as those."""
    alone = str(given).strip()
    return tuple(range(int(alone))) if alone.isdecimal() else seed_list(given)


class Compare(Verb, Workspaced):
    """Compare recipes: equal budgets, equal search, the same seeds, and controls that nobody asked for.

    Each recipe is run with each seed, in a process of its own, within the same budget; its own budget and seeds are
    left out. Beside them stand the untouched model and the trivial controls that `fit` has. All are measured on the
    same rows. Differences are paired by seed, and by row where all seeds are measured on the same rows; the intervals
    of all differences from any one arm hold together, 95 times of 100.

    A recipe that tunes may name values to try under `search`; all that tune then try the same number of settings, by
    training rows that are held out, with a seed that is not reported, before the comparison.

    Leaves a page, comparison.json, results/ with a file for each run as PEFT's method comparison reads them, and the
    folder of each run.
    """

    positional = ("recipes",)
    examples = (
        "scrimp compare lora.yaml full.yaml --seeds 5 --budget 5m",
        "scrimp compare a.yaml b.yaml --seeds 0-9 --within 1h --out argument",
    )

    recipes: Names = Field(min_length=1, description="The YAML files, as `scrimp run` takes them.")
    out: Path = Field(Path("comparison"), description="Folder of the page, the record and the runs.")
    seeds: Annotated[tuple[int, ...], BeforeValidator(_count_or_list)] = Field(
        (0, 1, 2, 3, 4), description="How many seeds, or which: 5, 0-4, or 3,7,9.")
    budget: Limit = Field("5m", validate_default=True, description=(
        "What each arm may spend with each seed: 5m, or time=5m,memory=8GiB,tokens=1000000."))
    within: Seconds | None = Field(None, description=(
        "Time of the whole comparison; no run is begun that might not end in it, and the seeds that are finished are "
        "compared."))
    tries: int | None = Field(None, ge=1, le=30, description=(
        "Settings that each arm that tunes tries; without it, as many as the recipe that names most of them."))
    force: bool = Field(False, description="Write into a folder that holds something else.")

    @field_validator("recipes", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        if isinstance(given, list | tuple):
            return tuple(os.fspath(one) if isinstance(one, os.PathLike) else one for one in given)
        return os.fspath(given) if isinstance(given, os.PathLike) else given

    @field_validator("seeds", mode="after")
    @classmethod
    def _sound(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not 2 <= len(set(seeds)) == len(seeds) or len(seeds) > 100:
            raise ValueError("a comparison takes two to a hundred different seeds")
        if _SEARCH_SEED in seeds:
            raise ValueError(f"seed {_SEARCH_SEED} chooses the settings, and cannot be reported")
        return seeds

    def do(self) -> Comparison:
        from scrimp.planning import peftresults
        from scrimp.recipes.arms import load_arms
        from scrimp.reports import comparison as page

        self._claim()
        arms = load_arms([Path(name) for name in self.recipes])
        with graceful():
            found = Runs(self, arms).comparison()
        found = found.model_copy(update={"advice": page.advice(found)})
        peftresults.write(found, self.out / "results")
        page.write(found, self.out / "report.html")
        found.save(self.out / _RECORD)
        return found

    def _claim(self) -> None:
        names = held(self.out)
        if names and not self.force and _RECORD not in names and "runs" not in names:
            raise WorkspaceError("holds something that is no comparison", where=str(self.out),
                                 fix="give another folder as out, or force to write into this one")


class Runs:
    """The runs of one comparison: each is a step of the workspace, so that none is made twice."""

    def __init__(self, request: Compare, arms: Sequence[RecipeArm]) -> None:
        self.request, self.arms = request, arms
        self.meter = Meter(Budget(time=request.within))
        self.space = Workspace(request.workspace)
        self.spent: dict[str, Bill] = {}
        self.warnings: list[str] = []

    def comparison(self) -> Comparison:
        """Search, race, and set beside each other."""
        from scrimp.core.ledger import environment
        from scrimp.planning.comparison import compared
        from scrimp.planning.racing import race
        from scrimp.recipes.arms import controls

        request, rows = self.request, self._rows()
        racing = {arm.name: arm for arm in [*controls(self.arms, rows.layout), *self.arms]}
        self._check(list(racing.values()))
        tries, searched = self._searched()
        for name, (point, _) in searched.items():
            racing[name] = racing[name].tuned(point)
        found = race(list(racing), request.seeds, lambda name, seed: self._ran(racing[name], seed), meter=self.meter,
                     limit_s=request.budget.time, known=lambda name, seed: self._known(racing[name], seed))
        trials = {key: one for key, one in found.items() if isinstance(one, Trial)}
        failed = {key: one for key, one in found.items() if isinstance(one, ScrimpError)}
        self.warnings += [f"{name} has no result with seed {seed}: {error.what}"
                          for (name, seed), error in failed.items()]
        own = [*self.arms, *(arm for arm in racing.values() if arm.control)]
        made = [self._arm(racing[arm.name], trials, failed, *searched.get(arm.name, ({}, ()))) for arm in own]
        for (name, _), trial in trials.items():
            self._bill(name, trial.spent)
        return compared(
            made, lambda one, other, seed: self._by_rows(racing[one], racing[other], seed), asked=self._asked(),
            seeds=request.seeds, tries=tries, bill=sum(self.spent.values(), Bill()), parts=self.spent,
            warnings=tuple(self.warnings), environment=environment())

    def _check(self, arms: Sequence[RecipeArm]) -> None:
        """Find what is wrong in a recipe before anything is spent on the others."""
        from scrimp.verbs.run import STEPS

        for arm in arms:
            for call in self._calls(arm, self.request.seeds[0], Path("unused")):
                STEPS[call.verb].parse(call.options, where=str(arm.path))

    # --- the rows -------------------------------------------------------------------------------------------------

    def _rows(self) -> Examples:
        """The rows that all are measured on, or those of which each seed holds some out."""
        from scrimp.planning.material import ENOUGH_TO_HOLD_OUT

        first = self.arms[0]
        rows = self._read(first, first.recipe.data.train if first.test is None else first.recipe.data.test)
        if first.test is None and len(rows) < ENOUGH_TO_HOLD_OUT:
            raise DataError(f"of {len(rows)} rows none are held out to measure on", where=str(first.path),
                            fix=f"name data.test, or give at least {ENOUGH_TO_HOLD_OUT} rows")
        return rows

    @staticmethod
    def _read(arm: RecipeArm, source: Any) -> Examples:
        from scrimp.examples.formats import read
        from scrimp.recipes.calls import placed_source

        data = arm.recipe.data
        return read(placed_source(source, arm.folder), layout=data.layout, columns=data.columns,
                    on_bad_row=data.on_bad_row, keep_found=True, find_scores=True)

    # --- the search -----------------------------------------------------------------------------------------------

    def _searched(self) -> tuple[int, dict[str, tuple[dict[str, Any], tuple[Try, ...]]]]:
        """How many settings each arm that tunes tries, and of each what was chosen and what was tried."""
        from scrimp.planning.tries import settings

        tuning = [arm for arm in self.arms if arm.recipe.verb == "tune"]
        named = [prod(map(len, arm.recipe.search.values())) for arm in tuning]
        count = self.request.tries or max(named, default=1)
        wanted = {arm.name: settings(arm.recipe.options, arm.recipe.search, count, seed=_SEARCH_SEED,
                                     where=str(arm.path)) for arm in tuning}
        if count == 1:
            return 1, {name: (points[0], ()) for name, points in wanted.items()}
        return count, {arm.name: self._best(arm, wanted[arm.name]) for arm in tuning}

    def _best(self, arm: RecipeArm, points: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], tuple[Try, ...]]:
        """The setting that does best on training rows that were held out, and all that were tried."""
        parted, tried, higher = self._parted(arm), list[Try](), True
        for point in points:
            try:
                self.meter.require(self.request.budget.time or 0.0, f"a try of {arm.name}")
                trial = self._ran(parted.tuned(point), _SEARCH_SEED, what=f"{arm.name}, trying {point}")
            except BudgetError as error:
                tried.append(Try(point=point, failed=error.what))
                continue
            higher = trial.quality.higher_is_better
            tried.append(Try(point=point, score=trial.quality.value, bill=trial.spent))
            self._bill(f"{arm.name}, search", trial.spent)
        scored = [one for one in tried if one.score is not None]
        if not scored:
            self.warnings.append(f"no try of {arm.name} was finished; it stands as its recipe spells it out")
            return {}, tuple(tried)
        return max(scored, key=lambda one: (one.score or 0.0) * (1 if higher else -1)).point, tuple(tried)

    def _parted(self, arm: RecipeArm) -> RecipeArm:
        """The arm with some of its training rows to learn from, and others to be judged on."""
        from scrimp.examples import splits
        from scrimp.examples.writing import write

        if isinstance(arm.recipe.data.train, dict):
            raise OptionError("a recipe that mixes several sources cannot be searched", where=str(arm.path),
                              fix="mix first, with `scrimp mix`, and name the file as data.train")
        examples = self._read(arm, arm.recipe.data.train)
        folder, sides = self.request.out / "runs" / "search", splits.split(examples, _SEARCHED_SHARE, seed=_SEARCH_SEED)
        files = [str((folder / f"{arm.name}-{name}.jsonl").absolute()) for name in ("learned", "judged")]
        for file, side in zip(files, sides, strict=True):
            write(Path(file), side.found)
        data = arm.recipe.data.model_copy(update={"train": files[0], "test": files[1]})
        return replace(arm, recipe=arm.recipe.model_copy(update={"data": data}))

    # --- one run --------------------------------------------------------------------------------------------------

    def _ran(self, arm: RecipeArm, seed: int, what: str = "") -> Trial:
        """The arm with a seed, made now or found where an earlier command finished it."""
        from scrimp.verbs import alone

        def make(folder: Path) -> None:
            say(f"{what or f'{arm.name}, seed {seed}'} ...")
            with self.meter.part() as part:
                try:
                    alone.run(folder, self._calls(arm, seed, folder))
                except ScrimpError:
                    self._bill(f"{arm.name}, unfinished", Bill(wall_s=part.elapsed_s()))
                    raise
            shutil.rmtree(folder / "space", ignore_errors=True)  # what was kept so that it could go on

        folder = self.space.step("arm", self._inputs(arm, seed), make)
        return Trial.parse(_answer(folder)["trial"], where=str(folder))

    def _known(self, arm: RecipeArm, seed: int) -> bool:
        return self.space.finished("arm", self._inputs(arm, seed))

    def _calls(self, arm: RecipeArm, seed: int, folder: Path) -> list[Call]:
        """The calls of a run: nothing that another run left may make them cheaper."""
        searching = seed == _SEARCH_SEED
        out = folder / "space" / "out" if searching else self.request.out / "runs" / arm.name / f"seed-{seed}"
        calls = arm.calls(seed, self.request.budget, out.absolute())
        own = {"workspace": str(folder / "space")}
        given: dict[str, dict[str, Any]] = {
            "select": {**own, "page": "none"}, "mix": {}, "fit": {**own, "force": True},
            "tune": {**own, "force": True}}
        for call in calls:
            call.options.update(given[call.verb])
        return calls

    def _inputs(self, arm: RecipeArm, seed: int) -> dict[str, Any]:
        """All that makes a run: what is asked, what the files hold, and the models."""
        from scrimp.planning.ladder import NUMERICS
        from scrimp.recipes.arms import content
        from scrimp.recipes.calls import placed_model, placed_source

        recipe = arm.recipe
        sources = [recipe.data.train, recipe.data.test, recipe.data.unlabelled,
                   *(step.select.target for step in recipe.steps if step.select)]
        plain = recipe.verb == "tune" and not recipe.preparing  # which looks at no embeddings
        names = (recipe.model,) if plain else (recipe.model, recipe.encoder)
        models = {name: _model_digest(placed_model(name, arm.folder)) for name in names}
        return {"recipe": recipe.model_dump(mode="json", exclude={"data", "budget", "seeds", "out", "search"}),
                "data": recipe.data.model_dump(mode="json", exclude={"train", "test", "unlabelled"}),
                "holds": [content(placed_source(source, arm.folder)) for source in sources], "models": models,
                "seed": seed, "budget": self.request.budget.model_dump(), "numerics": [NUMERICS, VERSION]}

    # --- what came of it ------------------------------------------------------------------------------------------

    def _arm(self, arm: RecipeArm, trials: dict[tuple[str, int], Trial], failed: dict[tuple[str, int], ScrimpError],
             point: dict[str, Any], tried: tuple[Try, ...]) -> Arm:
        mine = [trial for (name, _), trial in trials.items() if name == arm.name]
        title = max((trial.rung.title for trial in mine), default=arm.name,
                    key=[trial.rung.title for trial in mine].count)
        kind = mine[0].rung.kind if mine else "untouched" if arm.control == "untouched" else "control"
        return Arm(name=arm.name, kind=kind if arm.control else "adapted", title=title, model=arm.recipe.model,
                   recipe=None if arm.control else str(arm.path), chosen=point, tried=tried, trials=tuple(mine),
                   failed={seed: error.what for (name, seed), error in failed.items() if name == arm.name})

    def _by_rows(self, one: RecipeArm, other: RecipeArm, seed: int) -> tuple[float, float]:
        from scrimp.core.registry import build

        here, there = (_answer(self.space.step("arm", self._inputs(arm, seed), _never)) for arm in (one, other))
        metric = build("metric", here["trial"]["quality"]["metric"])
        found = metric.compare(there["said"], here["said"], here["rows"])
        return found.low, found.high

    def _bill(self, part: str, bill: Bill) -> None:
        self.spent[part] = self.spent.get(part, Bill()) + bill

    def _asked(self) -> dict[str, Any]:
        return self.request.model_dump(mode="json", exclude={"workspace", "force"}, exclude_none=True)


def _never(folder: Path) -> None:
    raise WorkspaceError("a run that was finished is gone", where=str(folder), fix="the same command makes it again")


@lru_cache(maxsize=64)
def _model_digest(name: str) -> str:
    from scrimp.checkpoints.loading import resolve

    return resolve(name).fingerprint


def _answer(folder: Path) -> dict[str, Any]:
    from scrimp.verbs.alone import ANSWER

    found: dict[str, Any] = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    return found
