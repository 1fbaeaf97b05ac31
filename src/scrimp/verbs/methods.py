"""What can be chosen by name, and the page of each: `methods`."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Options
from scrimp.evidence.catalogue import Row
from scrimp.evidence.results import Standing
from scrimp.verbs.base import Verb, plain

if TYPE_CHECKING:
    from scrimp.core.registry import Preset
    from scrimp.evidence.capabilities import Capability

__all__ = ["MethodPage", "Methods", "OptionPage"]


class Methods(Verb):
    """List what can be had by name, and where each paper of the catalogue stands; or show one method's page.

    Alone, it lists the papers. With a family (adapter, optimizer, merging ...), the methods of it; with a method's
    name, its page: what it does, its options, what it needs and costs, the evidence for it, and how to call it. A
    paper's status is computed: planned, reachable (a method has its name), shown (its evidence holds) or not shown.
    """

    positional = ("family", "name")
    examples = (
        "scrimp methods",
        "scrimp methods merging",
        "scrimp methods merging dare",
        "scrimp methods galore",
        "scrimp methods --status shown --costs forward",
        "scrimp methods --paper 217",
        "scrimp methods adapter --capabilities",
        "scrimp methods --json",
    )

    family: str | None = Field(None, description="A family of methods or of the catalogue; or the name of a method.")
    name: str | None = Field(None, description="Which method of the family.")
    paper: int | None = Field(None, description="The paper with this id in the catalogue.")
    status: Literal["planned", "reachable", "shown", "not shown"] | None = Field(
        None, description="Papers that stand so.")
    needs: str | None = Field(None, description="Papers whose methods need this, such as embeddings or base.")
    costs: Literal["nothing", "forward", "backward", "calls"] | None = Field(None, description=(
        "Papers with a method that makes models do no more than this: nothing, forward passes, backward passes, or "
        "calls of a language model."))

    capabilities: bool = Field(False, description=(
        "Try what the adapters, optimizers or objectives can do, on tiny models; takes a minute."))

    def do(self) -> list[MethodPage] | list[Row] | list[Capability]:
        from scrimp.core.registry import FAMILIES, lookup, presets

        if self.capabilities:
            return self._capabilities()

        if self.family and self.name:
            return [MethodPage.of(lookup(self.family, self.name))]
        if self.paper is None and self.status is None and self.needs is None and self.costs is None:
            if self.family in FAMILIES:
                return [MethodPage.of(preset) for preset in presets(self.family)]
            if named := [preset for preset in presets() if preset.name == self.family]:
                return [MethodPage.of(preset) for preset in named]
        return self._rows()

    def _capabilities(self) -> list[Capability]:
        from scrimp.evidence.capabilities import TRIED, probe

        if self.family not in (None, *TRIED):
            raise OptionError(f"of '{self.family}' nothing is tried; {nearest(self.family or '', TRIED)}")
        return [found for family in ([self.family] if self.family else TRIED) for found in probe(family)]

    def _rows(self) -> list[Row]:
        """The papers that pass every filter."""
        from scrimp.evidence.catalogue import EXPENSES, catalogue

        rows, rank = catalogue(), list(EXPENSES)
        if self.family:
            self._check_family(rows)
        return [row for row in rows
                if (self.family is None or self.family in _families(row))
                and (self.paper is None or row.id == self.paper)
                and (self.status is None or row.status == self.status)
                and (self.needs is None or self.needs in row.needs)
                and (self.costs is None or any(rank.index(c) <= rank.index(self.costs) for c in row.costs))]

    def _check_family(self, rows: Sequence[Row]) -> None:
        from scrimp.core.registry import FAMILIES, presets

        families = {family for row in rows for family in _families(row)} | set(FAMILIES)
        if self.family not in families:
            known = {*families, *(preset.name for preset in presets())}
            raise OptionError(f"there is no family and no method '{self.family}'; {nearest(self.family or '', known)}")


def _families(row: Row) -> set[str]:
    """The catalogue's family of a paper, its first part (``adapt``), and the families of its methods."""
    return {row.family, row.family.split(".")[0], *(name.split("/")[0] for name in row.names)}


class OptionPage(Options):
    """One option of a method."""

    name: str
    type: str
    default: Any
    description: str


class MethodPage(Options):
    """What there is to know of a method.

    Attributes:
        summary, text: the first line of its docstring, and all of it.
        papers: id -> title, of the catalogue.
        needs: what must be given to it beside its options, such as signals.
        costs: what it makes models do.
        fixed: the options that make the name what it is.
        calls: a line for Python, YAML and the shell each, where it can be called so.
        evidence: the claims that try it, and how they came out.
    """

    family: str
    name: str
    summary: str
    text: str
    papers: dict[int, str]
    needs: tuple[str, ...]
    costs: str
    options: tuple[OptionPage, ...]
    fixed: dict[str, Any]
    calls: dict[str, str]
    evidence: tuple[Standing, ...]

    @classmethod
    def of(cls, preset: Preset) -> MethodPage:
        """The page of a registered preset: made from its class, never written."""
        from scrimp.evidence.catalogue import EXPENSES, expense, papers, tried

        built, (text, described) = preset.build(), _docstring(preset.method)
        defaults = built.model_dump()
        options = tuple(
            OptionPage(name=name, type=inspect.formatannotation(plain(field.annotation)).replace("typing.", ""),
                       default=defaults[name], description=field.description or described.get(name, ""))
            for name, field in preset.method.model_fields.items())
        titles = {paper.id: paper.title for paper in papers() if paper.id in preset.papers}
        return cls(family=preset.family, name=preset.name, summary=preset.summary, papers=titles, text=text,
                   needs=preset.method.needs, costs=EXPENSES[expense(preset)], options=options,
                   fixed=dict(preset.options), calls=_calls(preset, options),
                   evidence=tuple(tried(f"{preset.family}/{preset.name}")))


def _docstring(method: type[Options]) -> tuple[str, dict[str, str]]:
    """What a class says of itself, and what its ``Attributes`` section and those of its bases say of options."""
    parted = [inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n") for cls in method.__mro__]
    entries = [entry for _, _, section in reversed(parted)
               for entry in re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE)]
    return parted[0][0].strip(), {name: " ".join(words.split()) for name, words in entries}


def _calls(preset: Preset, options: tuple[OptionPage, ...]) -> dict[str, str]:
    """How the method is asked for, in each of the three languages."""
    given = {o.name: o.default for o in options[:1] if isinstance(o.default, str | int | float)}
    if preset.family in ("adapter", "optimizer", "schedule", "clipping", "objective", "packing", "sampling",
                         "weighting"):
        return _of_verb("tune", {"data": "data.csv"}, {preset.family: preset.name, **given})
    if preset.family == "metric":
        return {**_of_verb("fit", {"data": "data.csv"}, {"metric": preset.name}), "YAML": f"metric: {preset.name}"}
    if preset.family == "selection":
        return _of_verb("select", {"data": "pool.jsonl"}, {"method": preset.name, "keep": "5%", **given})
    if preset.family == "mixing" and not preset.build().sees:  # type: ignore[attr-defined]
        return _of_verb("mix", {"data": "web.jsonl,law.jsonl"}, {"method": preset.name, **given})
    if preset.family == "merging":
        calls = _of_verb("merge", {"models": "tuned"}, {"method": preset.name, "base": "base", **given})
        return {language: call for language, call in calls.items() if language != "YAML"}
    built = f'build("{preset.family}", "{preset.name}"{f", {given}" if given else ""})'
    signature = inspect.signature(getattr(preset.method, preset.method.verb))
    asked = ", ".join(name for name, p in signature.parameters.items() if name != "self" and p.default is p.empty)
    return {"Python": f"from scrimp.core.registry import build\n  {built}.{preset.method.verb}({asked})"}


def _of_verb(verb: str, data: dict[str, str], options: dict[str, Any]) -> dict[str, str]:
    """A call of a verb on some data, with options."""
    [(argument, source)], written = data.items(), {"out": "run", **options}
    python = ", ".join(f"{key}={value!r}" for key, value in {argument: source, **written}.items())
    flags = " ".join(f"--{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in written.items())
    return {"Python": f"scrimp.{verb}({python})",
            "YAML": f"- {verb}: {{{', '.join(f'{key}: {value}' for key, value in options.items())}}}",
            "shell": f"scrimp {verb} {source} {flags}"}
