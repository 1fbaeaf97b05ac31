"""What can be chosen by name, and the page of each: `methods`."""

from __future__ import annotations

import inspect
import re
import shlex
from typing import TYPE_CHECKING, Any

from pydantic import Field

from scrimp.core.options import Options
from scrimp.verbs.base import Verb

if TYPE_CHECKING:
    from scrimp.core.registry import Preset

__all__ = ["MethodPage", "Methods", "OptionPage"]


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
            OptionPage(name=name, type=inspect.formatannotation(field.annotation).replace("typing.", ""),
                       default=getattr(built, name), description=field.description or described.get(name, ""))
            for name, field in preset.method.model_fields.items())
        return cls(family=preset.family, name=preset.name, summary=preset.summary, papers=preset.papers, text=text,
                   options=options, calls=_calls(preset, options))


def _docstring(method: type[Options]) -> tuple[str, dict[str, str]]:
    """What a class says of itself, and what its ``Attributes`` section says of each option."""
    text, _, section = inspect.cleandoc(method.__doc__ or "").partition("\nAttributes:\n")
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
