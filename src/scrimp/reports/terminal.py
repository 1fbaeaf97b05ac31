"""The one table of a run for the terminal: readable at 80 columns, without colours, and in a log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scrimp.evaluation.outcome import Outcome, Rung
from scrimp.reports import numbers, story
from scrimp.reports.text import clip, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["table"]

_NONE = "-"


def table(outcome: Outcome) -> RenderableType:
    """One line a rung, the chosen one marked with ``*``; under it what the marks mean and what was not run, and why.

    Raises:
        DataError: if the record contradicts itself.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    story.check(outcome)
    place = story.standing(outcome)
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("", overflow="fold")
    for head in _heads(place):
        shown.add_column(Text(head), justify="right", no_wrap=True)
    for rung in outcome.rungs:
        if rung.skipped is None:
            cells = [_name(rung, outcome.winner), *_cells(rung, place)]
            shown.add_row(*map(Text, cells), style="bold" if rung.name == outcome.winner else "")
    return Group(shown, *map(Text, _notes(outcome)))


def _notes(outcome: Outcome) -> Iterator[str]:
    yield "* chosen; brackets hold 95% intervals"
    if told := story.expected(outcome):
        yield told
    for measure in dict.fromkeys(rung.retention.measure for rung in outcome.rungs if rung.retention):
        yield f"retention: the change of {_shown(measure)}"
    yield from _foreseen(outcome)
    yield from _to_look_at(outcome)
    for rung in outcome.rungs:
        if told := story.quantization(rung):
            yield f"{_shown(rung.name)}: {_shown(told)}"
    for rung in outcome.rungs:
        if rung.skipped is not None:
            yield f"not run: {_shown(rung.name)}, {_shown(rung.skipped)}"


def _to_look_at(outcome: Outcome) -> Iterator[str]:
    found = outcome.review
    if found.doubtful:
        yield f"labels that look wrong: {len(found.doubtful)}, such as that of {_shown(found.doubtful[0].source)}"
    if torn := [group for group in found.repeats if group.labels]:
        yield f"texts that stand with several answers: {len(torn)}, such as {_shown(torn[0].sources[0])}"
    if found.next:
        yield "rows to label next: label-next.jsonl"


def _foreseen(outcome: Outcome) -> Iterator[str]:
    """What was predicted beside what was spent: of the run, and of every way that has a forecast."""
    ways = [(_shown(rung.name), rung.foreseen, rung.bill) for rung in outcome.rungs if rung.skipped is None]
    costs = [("the run", outcome.foreseen, outcome.bill), *ways]
    for name, foreseen, bill in costs:
        if foreseen is not None:
            seconds = f"{numbers.duration(foreseen.wall_s)}, took {numbers.duration(bill.wall_s)}"
            memory = "" if foreseen.peak_memory is None else (
                f"; {numbers.size(foreseen.peak_memory)}, took {numbers.size(bill.peak_memory)}")
            yield f"foreseen for {name}: {seconds}{memory}"


def _heads(place: story.Standing) -> tuple[str, ...]:
    metric = numbers.metric_name(place.score.metric) if place.score else "score"
    score = metric if place.basis == "test" else f"{metric} (validation)"
    return f"{score}\n[low, high]", "retention", "seconds", "peak\nmemory", "trained\nparams", "bytes\nto ship"


def _name(rung: Rung, winner: str) -> str:
    return f"{'*' if rung.name == winner else ' '} {_shown(rung.name)}"


def _shown(text: str | None) -> str:
    return visible(clip(text or "", 300))


def _cells(rung: Rung, place: story.Standing) -> tuple[str, ...]:
    score = place.of(rung)
    return (numbers.interval(score) if score else _NONE,
            numbers.estimate(rung.retention) if rung.retention else _NONE,
            f"{rung.bill.wall_s:,.1f}", numbers.size(rung.bill.peak_memory), numbers.short(rung.trainable),
            numbers.size(rung.ship_bytes))
