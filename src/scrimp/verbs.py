"""The public verbs. The typed fields of a verb's class are its options, its docstring is its page, `do` does it.

The Python functions (`scrimp.fit(...)`), the command line (`scrimp fit ...`) and the recipes are all made from these
classes: one code path, nothing written twice. Nothing here loads torch before something is done.
"""

from __future__ import annotations

import inspect as signatures
import json
import os
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import platformdirs
from pydantic import BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo

from scrimp.core.budget import Budget
from scrimp.core.errors import ModelError, OptionError, WorkspaceError
from scrimp.core.options import Bytes, Options
from scrimp.core.progress import say, warn
from scrimp.core.workspace import Step, Workspace, atomic_folder, atomic_write
from scrimp.evaluation.outcome import InspectedRow, Outcome, Score
from scrimp.examples.datasets import DATASETS
from scrimp.examples.datasets import sample as sample_rows
from scrimp.recipes.fields import Based, Controls, Limit, Names, Pairs, Rungs, Seed, Settings, Shape, Source, Strictness

if TYPE_CHECKING:
    from scrimp.checkpoints.loading import Loaded
    from scrimp.core.registry import Preset
    from scrimp.examples.records import Examples
    from scrimp.serving.predictors import Predictor

__all__ = ["VERBS", "Verb", "function"]

_PROBED = 256  # tokens of a row on which an export is compared with what was evaluated


def default_workspace() -> Path:
    """``SCRIMP_WORKSPACE``, else a folder in the cache: ``SCRIMP_CACHE``, else the person's."""
    if named := os.environ.get("SCRIMP_WORKSPACE"):
        return Path(named)
    return Path(os.environ.get("SCRIMP_CACHE") or platformdirs.user_cache_path("scrimp")) / "workspace"


def _held(folder: Path) -> set[str]:
    """Names in a folder that is to be written; none if it does not exist yet."""
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise WorkspaceError("is no folder to write into", where=str(folder), why=error.strerror,
                             fix="give another folder as out") from None


class Verb(Options, ABC):
    """Something that scrimp can be asked to do.

    Attributes:
        positional: the options that may be given without their name, in order.
        rest: the option into which options go that the verb does not have itself.
        examples: shell commands for the help.
    """

    positional: ClassVar[tuple[str, ...]] = ()
    rest: ClassVar[str | None] = None
    examples: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def do(self) -> Any:
        """Do it and return what came of it."""

    @classmethod
    def named(cls) -> str:
        """The verb's name."""
        return cls.__name__.lower()

    @classmethod
    def ask(cls, **options: Any) -> Any:
        """Check the options and do it."""
        return cls.parse(options, where=f"scrimp {cls.named()}").do()

    @classmethod
    def listed(cls) -> dict[str, FieldInfo]:
        """The options in the order in which a person meets them: positional, required, own, inherited."""
        own_first = [name for base in cls.__mro__ for name in getattr(base, "__annotations__", ())
                     if name in cls.model_fields]
        ordered = [*cls.positional, *(name for name in own_first if cls.model_fields[name].is_required()), *own_first]
        return {name: cls.model_fields[name] for name in ordered if name != cls.rest}


class Workspaced(Options):
    """Where finished steps are kept, so that nothing is done twice."""

    workspace: Annotated[Path, BeforeValidator(lambda given: default_workspace() if given is None else given)] = Field(
        None, validate_default=True,
        description="Folder of finished steps; without it, SCRIMP_WORKSPACE or a folder in your cache.")


class Learn(Verb, Settings, Shape, Workspaced):
    """What `fit` and `tune` have in common: from examples to a folder that predicts."""

    positional = ("data",)

    data: Source = Field(description="What is learned from: a file (JSONL, JSON, CSV, TSV, Parquet), a folder of "
                                     "texts, hub:name, or in Python the rows.")
    out: Path = Field(description="Folder for the model, the scores, the report and the recipe.")
    test: Source | None = Field(None, description=(
        "What is measured on; without it, rows of the data are held out if there are enough."))
    seed: Seed = Field(0, description="Of every random choice.")
    force: bool = Field(False, description="Write into a folder that holds something else than a scrimp run.")

    def do(self) -> Outcome:
        self._claim()
        outcome = self._learn()
        self._leave(outcome)
        return outcome

    @abstractmethod
    def _learn(self) -> Outcome:
        """Do the work; leaves model, scores and ledger in ``out``."""

    def _claim(self) -> None:
        """Refuse an output folder that is somebody else's."""
        held = _held(self.out)
        if held and not self.force and not held & {"ledger.jsonl", "scores.json"}:
            raise WorkspaceError("holds something that is no scrimp run", where=str(self.out),
                                 fix="give another folder as out, or force to write into this one")

    def _leave(self, outcome: Outcome) -> None:
        """Write what a person reads and runs again."""
        from scrimp.recipes import writing
        from scrimp.reports import page

        best = outcome.best
        tuning = {name: value for name, value in best.chosen.items() if name != "seed"}
        step = {"tune": tuning} if best.kind == "adapted" else {"fit": {"rungs": [best.name]}}
        writing.write(self, step, self.out / "recipe.yaml")
        page.write(outcome, self.out / "report.html")


class Fit(Learn, Controls, Rungs):
    """Adapt a model to your examples within a budget, and measure it.

    From a base model, examples and a budget to a folder that predicts, a report, and the recipe of what won. Tries the
    untouched model, trivial controls, frozen features and LoRA; the best on validation wins, and every way is reported
    by itself.
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
            own = [near for key in self.method if f"'{key}'" in error.what
                   for near in get_close_matches(key, type(self).model_fields, n=1)]
            raise OptionError(error.what, where=error.where,
                              fix=f"did you mean '{own[0]}'?" if own else "scrimp methods lists the choices") from None
        return ladder.tune(self)


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

    A line has the number of the row (from 0) and a label with the probabilities of all labels, or a text. Where bad
    rows are left out, the others are numbered on, and each line names the source of its row.
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


class Inspection(Options):
    """Rows as the model sees them, and the totals over all rows."""

    rows: tuple[InspectedRow, ...]
    rows_in_all: int
    tokens: int
    trained_tokens: int
    longest: int
    truncated: int


class Inspect(Verb, Based, Shape):
    """Show, token by token, what would be trained, and the totals."""

    positional = ("data",)
    examples = ("scrimp inspect train.jsonl", "scrimp inspect train.csv --model org/model --rows 10")

    data: Source = Field(description="The rows: a file, a folder of texts, hub:name, or in Python the rows themselves.")
    rows: int = Field(3, ge=0, description="How many rows to show; the totals are of all.")
    max_tokens: int | None = Field(None, ge=8, description=(
        "Longer rows are cut; 256 for labels, else 1024, without it."))

    def do(self) -> Inspection:
        from scrimp.checkpoints.loading import resolve
        from scrimp.examples.formats import read
        from scrimp.examples.templates import inspect
        from scrimp.planning.rungs import Base

        examples = read(self.data, layout=self.layout, columns=self.columns, on_bad_row=self.on_bad_row)
        base = Base(resolve(self.model), examples, instruction=self.instruction, max_tokens=self.max_tokens)
        found = inspect(examples, base.template, base.loaded.tokenizer, rows=self.rows)
        for warning in found.warnings:
            warn(warning)
        shown = tuple(InspectedRow(source=r.source, tokens=r.tokens, trained=r.trained) for r in found.rows)
        return Inspection(rows=shown, rows_in_all=len(examples), tokens=found.tokens, longest=found.longest,
                          trained_tokens=found.trained_tokens, truncated=found.truncated)


class Export(Verb):
    """Write a run's model in a form that other tools load.

    An adapter is what `peft.PeftModel.from_pretrained` puts on the base model; a merged model is a folder that plain
    transformers loads. Either is loaded again and compared with the model that was evaluated, before it counts.
    """

    positional = ("run",)
    examples = ("scrimp export run --out adapter", "scrimp export run --out merged --form merged")

    run: Path = Field(description="Folder of a finished run.")
    out: Path = Field(description="Folder to write; it must not exist yet, or be empty.")
    form: Literal["adapter", "merged"] = Field("adapter", description="The small part that was tuned, or the whole.")

    def do(self) -> Path:
        from scrimp.checkpoints import exporting

        if _held(self.out):
            raise WorkspaceError("is not empty", where=str(self.out), fix="give another folder as out")
        loaded = self._loaded()
        texts = ["".join(row.tokens) for row in Outcome.load(self.run / "scores.json").data.inspected]
        probes = [loaded.tokenizer(text, add_special_tokens=False)["input_ids"][:_PROBED] for text in texts]
        with atomic_folder(self.out) as folder:
            if self.form == "adapter":
                exporting.save_adapter(loaded, folder)
            else:
                exporting.save_merged(exporting.merge(loaded), folder)
            exporting.check_export(loaded, folder, probes)
            atomic_write(folder / "README.md", (self.run / "model" / "README.md").read_bytes())
        return self.out

    def _loaded(self) -> Loaded:
        """The model that the run tuned."""
        from scrimp.checkpoints.exporting import ADAPTER_CONFIG, load_export
        from scrimp.checkpoints.heads import HEAD_CONFIG
        from scrimp.checkpoints.loading import resolve
        from scrimp.checkpoints.validation import CONFIG
        from scrimp.serving.predictors import KINDS, read_manifest

        folder = self.run / "model"
        manifest = read_manifest(folder, list(KINDS))
        if manifest.base is None or not any((folder / name).exists() for name in (ADAPTER_CONFIG, CONFIG, HEAD_CONFIG)):
            raise ModelError(f"what this run found best tuned no model; it is of the kind {manifest.kind}",
                             where=str(self.run), fix="scrimp predict uses it as it is; scrimp tune tunes a model")
        checkpoint = resolve(manifest.base.name)
        if checkpoint.fingerprint != manifest.base.fingerprint:
            raise ModelError("the base model is another one than the one it was tuned on", where=manifest.base.name,
                             fix="put the same version of the base model there")
        return load_export(folder, checkpoint, dtype=manifest.base.dtype)


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


class Methods(Verb):
    """List what can be chosen by name, or show one method's page.

    With a family (adapter, optimizer, schedule, objective, metric, predictor), that family; with a name too, the
    method's page: what it is, its options, and how to call it.
    """

    positional = ("family", "name")
    examples = ("scrimp methods", "scrimp methods adapter", "scrimp methods adapter lora")

    family: str | None = Field(None, description="Which kind.")
    name: str | None = Field(None, description="Which one.")

    def do(self) -> list[MethodPage]:
        from scrimp.core.registry import lookup, presets

        if self.family and self.name:
            return [MethodPage.of(lookup(self.family, self.name))]
        return [MethodPage.of(preset) for preset in presets(self.family) if self.name in (None, preset.name)]


class OptionPage(Options):
    """One option of a method."""

    name: str
    type: str
    default: Any
    description: str


class MethodPage(Options):
    """What there is to know of a method; ``calls`` has a line for Python, YAML and the shell each."""

    family: str
    name: str
    summary: str
    text: str
    papers: tuple[int, ...]
    options: tuple[OptionPage, ...]
    calls: dict[str, str]

    @classmethod
    def of(cls, preset: Preset) -> MethodPage:
        """The page of a registered preset: made from its class, never written."""
        built, (text, described) = preset.build(), _docstring(preset.method)
        options = tuple(
            OptionPage(name=name, type=signatures.formatannotation(field.annotation).replace("typing.", ""),
                       default=getattr(built, name), description=field.description or described.get(name, ""))
            for name, field in preset.method.model_fields.items())
        return cls(family=preset.family, name=preset.name, summary=preset.summary, papers=preset.papers, text=text,
                   options=options, calls=_calls(preset, options))


def _docstring(method: type[Options]) -> tuple[str, dict[str, str]]:
    """What a class says of itself, and what its ``Attributes`` section says of each option."""
    text, _, section = signatures.cleandoc(method.__doc__ or "").partition("\nAttributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE)
    return text.strip(), {name: " ".join(words.split()) for name, words in entries}


def _calls(preset: Preset, options: tuple[OptionPage, ...]) -> dict[str, str]:
    """How the method is asked for, in each of the three languages."""
    given = {preset.family: preset.name, **{o.name: o.default for o in options[:1] if o.default is not None}}
    if preset.family == "metric":
        return {"Python": f'scrimp.fit(data="data.csv", out="run", metric="{preset.name}")',
                "YAML": f"metric: {preset.name}",
                "shell": f"scrimp fit data.csv --out run --metric {preset.name}"}
    if preset.family not in ("adapter", "optimizer", "schedule", "objective"):
        return {}
    return {"Python": f'scrimp.tune(data="data.csv", out="run", {", ".join(f"{k}={v!r}" for k, v in given.items())})',
            "YAML": f"- tune: {{{', '.join(f'{k}: {v}' for k, v in given.items())}}}",
            "shell": "scrimp tune data.csv --out run " + " ".join(
                f"--{k.replace('_', '-')} {shlex.quote(str(v))}" for k, v in given.items())}


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


class Run(Verb, Workspaced):
    """Run a recipe: all of it said in a YAML file.

    It says what is adapted, on what, within what, how, and with which seeds. Paths in it are taken from its own folder.
    `scrimp schema` gives the JSON schema by which editors complete it.
    """

    positional = ("recipe",)
    examples = ("scrimp run recipe.yaml", "scrimp run recipe.yaml --out elsewhere")

    recipe: Path = Field(description="The YAML file.")
    out: Path | None = Field(None, description="Folder of the results; without it, the recipe's `out`, or its name.")
    force: bool = Field(False, description="Write into a folder that holds something else than a scrimp run.")

    def do(self) -> list[Outcome]:
        from scrimp.recipes.calls import calls
        from scrimp.recipes.schema import load

        recipe, folder = load(self.recipe), self.recipe.absolute().parent
        out = self.out or (folder / Path(recipe.out).expanduser() if recipe.out else self.recipe.with_suffix(""))
        own = {"force": self.force, "workspace": self.workspace}
        asked = [VERBS[call.verb].parse({**call.options, **own}, where=str(self.recipe))
                 for call in calls(recipe, folder, out)]
        return [verb.do() for verb in asked]


#: Every verb by its name.
VERBS: dict[str, type[Verb]] = {verb.named(): verb for verb in (
    Fit, Predict, Evaluate, Tune, Inspect, Run, Export, Sample, Methods, Schema, Clean)}


def function(verb: type[Verb]) -> Callable[..., Any]:
    """The verb as a Python function, its signature and docstring made from the fields."""
    def ask(*given: Any, **options: Any) -> Any:
        if len(given) > len(verb.positional):
            raise OptionError(f"takes {len(verb.positional)} arguments without a name, not {len(given)}",
                              where=f"scrimp.{verb.named()}", fix=f"name the options: {', '.join(verb.listed())}")
        return verb.ask(**dict(zip(verb.positional, given, strict=False)), **options)

    kinds = signatures.Parameter
    parameters = [
        kinds(name, kinds.POSITIONAL_OR_KEYWORD if name in verb.positional else kinds.KEYWORD_ONLY,
              annotation=_plain(field.annotation), default=kinds.empty if field.is_required() else field.default)
        for name, field in verb.listed().items()]
    if verb.rest:
        parameters.append(kinds(verb.rest, kinds.VAR_KEYWORD))
    listed = "\n".join(f"    {name}: {field.description}" for name, field in verb.listed().items())
    ask.__doc__ = f"{signatures.cleandoc(verb.__doc__ or '')}\n\nArgs:\n{listed}\n"
    ask.__name__ = ask.__qualname__ = verb.named()
    returned = signatures.signature(verb.do).return_annotation
    ask.__signature__ = signatures.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
    return ask


def _plain(annotation: Any) -> Any:
    """A type without its validators, as a person wants to read it."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(_plain, get_args(annotation)))
    return annotation


clean, evaluate, export = function(Clean), function(Evaluate), function(Export)
fit, inspect, methods = function(Fit), function(Inspect), function(Methods)
predict, run, sample = function(Predict), function(Run), function(Sample)
schema, tune = function(Schema), function(Tune)
