"""What a recipe may say, and how it is read: every mistake with its line, column, key path and nearest known key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Options
from scrimp.recipes.fields import (
    Controls,
    Limit,
    Mixing,
    OrText,
    Rungs,
    Seed,
    Selecting,
    Settings,
    Shape,
    Source,
    Tracked,
)
from scrimp.recipes.yamltext import Document, KeyPath, read_file

__all__ = ["VERSION", "Data", "Recipe", "Step", "json_schema", "load"]

VERSION = 1
_PREPARING = {"select", "mix"}  # verbs that leave a file of rows


class Data(Shape):
    """The examples."""

    train: Source | dict[str, Source] = Field(description=(
        "What is learned from: a file, a folder, hub:name, or the rows; where a mix step is the first, also such "
        "sources by the names of their domains."))
    test: Source | None = Field(None, description="What is measured on; never seen while learning or choosing.")
    unlabelled: Source | None = Field(None, description="Texts without labels, to learn from and to choose among.")


class Step(Options):
    """One step: a verb with its options."""

    mix: Mixing | None = Field(None, description="Bring rows of several domains into given proportions.")
    select: Selecting | None = Field(None, description="Keep only the rows that are worth learning from.")
    fit: Rungs | None = Field(None, description="Try the ladder and keep the best on validation.")
    tune: dict[str, Any] | None = Field(None, description="Tune in the way that is spelled out.")

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a step names one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def verb(self) -> str:
        """The verb's name."""
        return next(iter(self.model_fields_set))

    @property
    def options(self) -> dict[str, Any]:
        """The verb's options, as given."""
        given = getattr(self, self.verb) or {}
        return given.model_dump(exclude_unset=True) if isinstance(given, Options) else dict(given)


def _train_only(value: Any) -> Any:
    return {"train": value} if isinstance(value, str) else value


class Recipe(Settings, Controls, Tracked):
    """A recipe: what is adapted, on what, within what, how, and how often."""

    version: Literal[1] = Field(1, description="Version of this format.")
    data: Annotated[Data, BeforeValidator(_train_only), OrText()] = Field(
        description="The examples, or just their file.")
    budget: Limit | None = Field(
        None, description="What each seed's run may spend: 10m, or time, memory, tokens, disk.")
    steps: tuple[Step, ...] = Field((Step.parse({"fit": None}),), min_length=1, max_length=3,
                                    description="What is done: one of fit and tune, and select and mix before it.")
    search: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field({}, description=(
        "Options of the tune step, each with values that `scrimp compare` tries; `scrimp run` takes the step as it "
        "stands."))
    evaluate: tuple[Literal["task", "retention"], ...] = Field(
        ("task", "retention"), description="What is measured: the task and, always beside it, what is retained.")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, max_length=100, description="One run for each.")
    out: str | None = Field(None, description="Folder of the results; without it, the recipe's name without .yaml.")

    @field_validator("steps", mode="after")
    @classmethod
    def _in_order(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        *before, last = [step.verb for step in steps]
        if last in _PREPARING or not set(before) <= _PREPARING or len(set(before)) < len(before):
            raise ValueError("there is one fit or tune, and at most one select and one mix, before it")
        return steps

    @field_validator("evaluate", mode="after")
    @classmethod
    def _both(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        if set(parts) != {"task", "retention"}:
            raise ValueError("both are always measured; write [task, retention], or leave it out")
        return parts

    @field_validator("seeds", mode="after")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is given twice")
        return seeds

    @model_validator(mode="after")
    def _of_one_source(self) -> Self:
        if isinstance(self.data.train, dict) and self.steps[0].verb != "mix":
            raise ValueError("data.train has several domains, and no mix step is the first")
        return self

    @model_validator(mode="after")
    def _searched(self) -> Self:
        if self.search and self.verb != "tune":
            raise ValueError("`search` names options of a tune step, and there is none")
        return self

    @property
    def preparing(self) -> tuple[Step, ...]:
        """The steps that make the rows which the last one learns from."""
        return self.steps[:-1]

    @property
    def verb(self) -> str:
        """The verb of the last step, which learns."""
        return self.steps[-1].verb

    @property
    def options(self) -> dict[str, Any]:
        """The options of the last step, as given."""
        return self.steps[-1].options


def load(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        OptionError: with file, line, column, key path, reason and the nearest known key of everything that is wrong.
    """
    document = read_file(path)
    if not isinstance(document.value, dict):
        raise OptionError("a recipe is a mapping of keys", where=document.at(()), fix="begin with `model:` and `data:`")
    _check_version(document)
    try:
        recipe = Recipe.model_validate(document.value)
    except ValidationError as error:
        raise _located(error, document) from None
    _check_methods(recipe, document)
    return recipe


def _check_version(document: Document) -> None:
    version = document.value.get("version", VERSION)
    if version != VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > VERSION
        raise OptionError(f"'version: {version}' is not known; this scrimp reads version {VERSION}",
                          where=document.at(("version",)),
                          fix="upgrade scrimp" if newer else f"write `version: {VERSION}`")


def _check_methods(recipe: Recipe, document: Document) -> None:
    """The options of select and tune steps, checked by what will run them."""
    from scrimp.core.registry import build
    from scrimp.tuning.plan import TunePlan

    for place, step in enumerate(recipe.steps):
        try:
            if step.select is not None:
                build("selection", step.select.method, step.select.options, where="select")
            elif step.mix is not None:
                build("mixing", step.mix.method, step.mix.options, where="mix")
            elif step.verb == "tune":
                TunePlan.parse(step.options)
        except OptionError as error:
            raise _placed(error, step, ("steps", place, step.verb), document) from None


def _placed(error: OptionError, step: Step, path: KeyPath, document: Document) -> OptionError:
    """The error with the place of the option that it names."""
    given = {**step.options, **step.options.get("options", {})}
    keys = [key for key in given if f"'{key}'" in error.what]
    values = [key for key, value in given.items() if f"'{value}'" in error.what]
    where = document.at((*path, *(keys or values)[:1]), key=bool(keys))
    return OptionError(error.what, where=where, why=error.why, fix=error.fix)


def _located(error: ValidationError, document: Document) -> OptionError:
    """Pydantic's findings, the innermost only, with the places in the text that they are about."""
    entries = error.errors(include_url=False)
    inside = {entry["loc"][:end] for entry in entries for end in range(len(entry["loc"]))}
    found = sorted(_finding(entry, document) for entry in entries if entry["loc"] not in inside)
    if len(found) == 1:
        return OptionError(found[0][2], where=found[0][1])
    return OptionError("\n".join([f"{len(found)} mistakes", *(f"  {where}: {what}" for _, where, what in found)]),
                       where=document.name)


def _finding(entry: Any, document: Document) -> tuple[tuple[int, ...], str, str]:
    """Line and column, the place in words, and what is wrong there."""
    path = _in_text(entry["loc"], document)
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") or "the recipe"
    unknown = entry["type"] == "extra_forbidden"
    where = document.at(path, key=unknown)
    if unknown:
        what = f"unknown key '{shown}'; {nearest(str(path[-1]), _known(path[:-1]))}"
    elif entry["type"] == "missing":
        what = f"'{'.'.join(str(part) for part in entry['loc'])}' is required"
    else:
        what = f"'{shown}': {entry['msg'].removeprefix('Value error, ')} (given: {str(entry['input'])[:80]!r})"
    return tuple(int(part) for part in where.rsplit(":", 2)[1:]), where, what


def _in_text(loc: tuple[str | int, ...], document: Document) -> KeyPath:
    """The part of pydantic's location that the text has; names of union branches are no keys."""
    path: KeyPath = ()
    for part in loc:
        if (*path, part) in document.values:
            path = (*path, part)
    return path


def _known(path: KeyPath) -> list[str]:
    """The keys that may stand at ``path``."""
    model: type[BaseModel] = Recipe
    for part in path:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The options class somewhere in a type such as ``tuple[Step, ...]`` or ``Annotated[Data, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)


class _Written(GenerateJsonSchema):
    """What is parsed from text (durations, sizes, shares) may be written as text."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        return {"anyOf": [inner, {"type": "string"}]} if inner.get("type") in ("number", "integer") else inner


def _open(schema: dict[str, Any], step: str, family: str) -> None:
    """Put the names of a family's methods, and the options of all of them, into the schema of a step."""
    from scrimp.core.registry import presets

    known, properties = presets(family), schema["$defs"][step]["properties"]
    del properties["options"]
    properties["method"]["enum"] = [preset.name for preset in known]
    for preset in known:
        options = preset.method.model_json_schema()
        schema["$defs"] |= options.get("$defs", {})
        for name, described in options.get("properties", {}).items():
            properties.setdefault(name, described)


def json_schema() -> dict[str, Any]:
    """The JSON schema of recipes, the tuning choices included, for editors to complete and check by."""
    from scrimp.tuning import plan

    schema = Recipe.model_json_schema(schema_generator=_Written)
    _open(schema, "Selecting", "selection")
    _open(schema, "Mixing", "mixing")
    schema["$defs"]["Step"]["properties"]["tune"] = {
        **plan.json_schema(), "description": Step.model_fields["tune"].description}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "scrimp recipe"}
