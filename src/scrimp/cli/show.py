"""How a verb's result looks on the terminal; as JSON where that was asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scrimp.core.progress import say
from scrimp.evaluation.outcome import Outcome, Score
from scrimp.evidence.catalogue import Row
from scrimp.evidence.results import Standing
from scrimp.planning.comparison import Comparison
from scrimp.planning.ways import Estimate
from scrimp.verbs import (
    Clean,
    Cleaning,
    Compare,
    Decontaminate,
    Deduplicate,
    Evaluate,
    Evidence,
    Export,
    Fit,
    Inspect,
    Inspection,
    Merge,
    MethodPage,
    Methods,
    Mix,
    Mixed,
    Plan,
    Planned,
    Predict,
    Run,
    Sample,
    Schema,
    Select,
    Selected,
    Serve,
    ServedUntil,
    Sifted,
    Tune,
    Ui,
    Verb,
    Watched,
)

__all__ = ["show"]

_LEFT_OUT_SHOWN = _GROUPS_SHOWN = 10


def show(request: Verb, result: Any, *, as_json: bool) -> None:
    """Print what came of ``request`` to standard output."""
    if as_json:
        print(json.dumps(to_jsonable_python(result), ensure_ascii=False, indent=1))
    else:
        _SHOWN[type(request)](request, result)


def _draw(table: RenderableType) -> None:
    """A table, as wide as the terminal; single lines are printed plainly, so that no path is broken."""
    Console(highlight=False).print(table)


def _fitted(request: Fit | Tune, outcome: Outcome) -> None:
    _outcome(outcome)
    for name, what in (("report.html", "the report"), ("recipe.yaml", "the recipe"), ("scores.json", "all numbers"),
                       ("model", "the model")):
        print(f"{what:<13}{request.out / name}")
    print(f"to predict:  {outcome.predict}")


def _ran(request: Run, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        _outcome(outcome)
        print(f"to predict:  {outcome.predict}\n")


def _outcome(outcome: Outcome) -> None:
    from scrimp.reports import terminal

    _draw(terminal.table(outcome))
    print()


def _predicted(request: Predict, lines: Sequence[dict[str, Any]]) -> None:
    if request.out:
        say(f"{len(lines)} predictions in {request.out}")
    else:
        for line in lines:
            print(json.dumps(line, ensure_ascii=False))


def _evaluated(request: Evaluate, scores: Sequence[Score]) -> None:
    table = Table("metric", "score", "95 % interval", "rows", box=None, pad_edge=False)
    for score in scores:
        table.add_row(score.metric, f"{score.value:.3f}", f"{score.low:.3f} to {score.high:.3f}", str(score.n))
    _draw(table)


def _inspected(request: Inspect, found: Inspection) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for row in found.rows:
        console.print(row.source, style="bold", markup=False)
        console.print(_tokens(row.tokens, row.trained, coloured=console.color_system is not None), end="\n\n")
    share = found.trained_tokens / found.tokens if found.tokens else 0.0
    print(f"{found.rows_in_all} rows, {found.tokens} tokens, {found.trained_tokens} of them trained "
          f"({share:.1%}); the longest row has {found.longest}, {found.truncated} are cut")


def _tokens(tokens: Sequence[str], trained: Sequence[bool], *, coloured: bool) -> Text:
    """Trained tokens are green and underlined; in [brackets] where there is no colour."""
    text = Text()
    for token, is_trained in zip(tokens, trained, strict=True):
        if coloured:
            text.append(token, style="green underline" if is_trained else "dim")
        else:
            text.append(f"[{token}]" if is_trained else token)
    return text


def _sampled(request: Sample, files: Sequence[Path]) -> None:
    print(*files, sep="\n")


def _selected(request: Select, found: Selected) -> None:
    print(f"{found.kept} of {found.of} rows in {found.out}: {found.why}")
    if len(found.groups) > 1:
        table = Table(found.grouped_by, "in the pool", "kept", "share", box=None, pad_edge=False)
        for group in found.groups[:_GROUPS_SHOWN]:
            table.add_row(escape(group.name), str(group.pool), str(group.kept), f"{group.kept / group.pool:.1%}")
        _draw(table)
        if (more := len(found.groups) - _GROUPS_SHOWN) > 0:
            print(f"... and {more} more; --json lists all")
    for line in _seen(found):
        print(line)
    for name, what in ((found.page, "the page"), (found.learn, "to learn")):
        if name is not None:
            print(f"{what + ':':<13}{name}")


def _seen(found: Selected) -> Iterator[str]:
    if near := found.coverage:
        yield (f"{near.kept:.0%} of the pool has a kept row as near as half of it has one of a choice by chance "
               f"(by {near.by})")
    if found.in_pool and found.in_kept:
        yield (f"repeated exactly: {found.in_pool.exact} rows of the pool, {found.in_kept.exact} of those kept; "
               f"nearly: {found.in_pool.near} and {found.in_kept.near}")
    yield f"took {found.bill.wall_s:.1f} s, {found.bill.tokens_forward} tokens read by models"


def _mixed(request: Mix, found: Mixed) -> None:
    table = Table("domain", "share", "rows", "of", "", box=None, pad_edge=False)
    for part in found.parts:
        again = f"each {part.rows / part.of:.1f} times" if part.rows > part.of else ""
        table.add_row(escape(part.domain), f"{part.share:.1%}", str(part.rows), str(part.of), again)
    _draw(table)
    print(f"{found.rows} rows in {found.out}")


def _planned(request: Plan, found: Planned) -> None:
    from scrimp.reports import numbers

    table = Table("way", "rows", "workers", "time", "95 % interval", "on disk", box=None, pad_edge=False)
    for way in found.ways:
        table.add_row(way.name, numbers.count(found.rows), str(found.workers), numbers.duration(way.seconds.value),
                      _interval(way.seconds), numbers.size(way.disk))
    _draw(table)
    for way in found.ways:
        print(f"{way.name}: {way.basis}")
    for line in found.assumed:
        print(f"assumed: {line}")


def _interval(found: Estimate) -> str:
    from scrimp.reports import numbers

    if found.low is None or found.high is None:
        return "unknown: too few rows"
    return f"{numbers.duration(found.low)} to {numbers.duration(found.high)}"


def _compared(request: Compare, found: Comparison) -> None:
    from scrimp.reports import comparison, numbers

    table = Table("arm", numbers.metric_name(found.metric), "retention", "time", "memory", "to ship", "seeds", box=None,
                  pad_edge=False)
    for row in comparison.rows(found):
        cells = (row.quality, row.retention, row.time, row.memory, row.bytes)
        table.add_row(escape(row.arm.name), *(cell or "-" for cell in cells), str(len(row.arm.trials)))
    _draw(table)
    for warning in found.warnings:
        say(f"warning: {warning}")
    print(found.advice)
    print(f"all of it took {numbers.duration(found.bill.wall_s)}; the page: {request.out / 'report.html'}")


def _sifted(request: Deduplicate | Decontaminate, found: Sifted) -> None:
    for one in found.left_out[:_LEFT_OUT_SHOWN]:
        print(f"{one.source} is {'' if one.exact else 'nearly '}{one.like}")
    if (more := len(found.left_out) - _LEFT_OUT_SHOWN) > 0:
        print(f"... and {more} more; --json lists all")
    exact = sum(one.exact for one in found.left_out)
    near = len(found.left_out) - exact
    print(f"{found.kept} of {found.of} rows in {found.out}; left out: {exact} exact, {near} near")


def _exported(request: Export, folder: Any) -> None:
    print(f"{request.form} in {folder}")


def _served(request: Serve, found: ServedUntil) -> None:
    print(f"stopped serving {', '.join(found.models)} at {found.url}")


def _watched(request: Ui, found: Watched) -> None:
    print(f"stopped watching {request.workspace} at {found.url}")


def _merged(request: Merge, folder: Any) -> None:
    print(f"{request.method} of {len(request.models)} models in {folder}")


def _listed(request: Methods, found: Sequence[Any]) -> None:
    if request.capabilities:
        _capabilities(found)
    elif not found or isinstance(found[0], Row):
        _papers(found)
    elif len(found) == 1 or request.name:
        _page(found[0])
    else:
        table = Table("family", "name", "what it is", "with", box=None, pad_edge=False)
        for page in found:
            fixed = ", ".join(f"{name}={value}" for name, value in page.fixed.items())
            table.add_row(page.family, page.name, escape(page.summary), escape(fixed))
        _draw(table)


def _capabilities(found: Sequence[Any]) -> None:
    for family in dict.fromkeys(one.family for one in found):
        tried = [one for one in found if one.family == family]
        table = Table(family, *tried[0].cells, box=None, pad_edge=False)
        for one in tried:
            table.add_row(one.name, *map(escape, one.cells.values()))
        _draw(table)


def _papers(rows: Sequence[Row]) -> None:
    table = Table("paper", "status", "family", "names", "what it does", box=None, pad_edge=False)
    for row in rows:
        table.add_row(str(row.id), row.status, row.family, "\n".join(row.names), escape(row.line))
    _draw(table)
    counts = ", ".join(f"{sum(row.status == status for row in rows)} {status}"
                       for status in ("shown", "not shown", "reachable", "planned"))
    print(f"{len(rows)} papers: {counts}")


def _page(page: MethodPage) -> None:
    print(f"{page.family} {page.name}\n\n{page.text}\n")
    for paper, title in page.papers.items():
        print(f"paper {paper}: {title}")
    print(f"needs: {', '.join(page.needs) or 'nothing beside its options'}\ncosts: {page.costs}\n")
    table = Table("option", "type", "default", "", box=None, pad_edge=False)
    for option in page.options:
        table.add_row(option.name, escape(option.type), escape(str(option.default)), escape(option.description))
    if page.options:
        _draw(table)
    for language, call in page.calls.items():
        print(f"\n{language}:\n  {call}")
    for claim in page.evidence:
        print(f"\nevidence {claim.name}: {claim.verdict or 'not tried'}{' (stale)' if claim.stale else ''}")
        print(f"  {claim.says}")
        for one in claim.findings:
            print(f"  {one.inequality}   {one.effect:.3g} [{one.low:.3g}, {one.high:.3g}]")


def _tried(request: Evidence, standings: Sequence[Standing]) -> None:
    if request.action == "page":
        print(request.out)
        return
    table = Table("claim", "family", "papers", "verdict", "replay", "effects and 95 % intervals", "minutes",
                  box=None, pad_edge=False)
    signs = {True: "same signs", False: "other signs", None: "-"}
    for one in standings:
        effects = "\n".join(f"{f.inequality}   {f.effect:.3g} [{f.low:.3g}, {f.high:.3g}]" for f in one.findings)
        verdict = (one.verdict or "not tried") + (" (stale)" if one.stale else "")
        table.add_row(one.name, one.family, ", ".join(map(str, one.papers)), verdict, signs[one.replayed],
                      escape(effects), f"{one.seconds / 60:.1f}")
    _draw(table)


def _schema(request: Schema, schema: dict[str, Any]) -> None:
    if request.out:
        say(f"the schema is in {request.out}")
    else:
        print(json.dumps(schema, indent=1))


def _cleaned(request: Clean, found: Cleaning) -> None:
    table = Table("step", "MB", "last used", "", box=None, pad_edge=False)
    gone = {step.path for step in found.freed}
    for step in found.steps:
        state = "freed" if step.path in gone else "" if step.finished else "unfinished"
        used = time.strftime("%F %R", time.localtime(step.used_at))
        table.add_row(step.path.name, f"{step.bytes / 1e6:.1f}", used, state)
    if found.steps:
        _draw(table)
    held, freed = (sum(step.bytes for step in steps) / 1e6 for steps in (found.steps, found.freed))
    ending = f"; freed {freed:.1f} MB" if request.yes else "; --yes frees them" if found.steps else ""
    print(f"{found.workspace}: {len(found.steps)} steps, {held:.1f} MB{ending}")


_SHOWN: dict[type[Verb], Callable[..., None]] = {
    Fit: _fitted, Tune: _fitted, Run: _ran, Predict: _predicted, Evaluate: _evaluated, Inspect: _inspected,
    Export: _exported, Merge: _merged, Sample: _sampled, Methods: _listed, Schema: _schema, Select: _selected,
    Mix: _mixed, Plan: _planned, Deduplicate: _sifted, Decontaminate: _sifted, Evidence: _tried, Clean: _cleaned,
    Compare: _compared, Serve: _served, Ui: _watched,
}
