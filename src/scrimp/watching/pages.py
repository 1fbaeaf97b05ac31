"""The pages, of NiceGUI's components: the list of runs, one run, several beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from nicegui import ui

from scrimp.core.errors import ScrimpError
from scrimp.reports import numbers, story, text
from scrimp.watching import figures
from scrimp.watching.runs import Followed, Tried, follow, listed, same_rows

__all__ = ["register"]

_EVERY_S = 1.0  # between two looks at what goes on
_MOST = 8  # runs beside each other: no more can be told apart
_LINES = 200  # of a ledger that are shown
_COLOURS = {"running": "primary", "finished": "positive", "interrupted": "warning", "damaged": "negative"}
_STYLE = """
body { background: #fbfaf7; color: #1d1c1a; }
.nicegui-content { max-width: 76rem; margin: 0 auto; padding: 1.25rem; width: 100%; }
.q-table__card, .q-card { box-shadow: none; border: 1px solid #dcd7cb; }
a { color: #0b5d5a; }
h1 { font: 400 1.7rem/1.25 Georgia, serif; margin: 0; overflow-wrap: anywhere; }
h2 { font: 400 1.3rem/1.25 Georgia, serif; margin: 1rem 0 0; }
.quiet { color: #5c5850; }
"""
_RUN_CELL = """<q-td :props="props"><a :href="'/runs/' + encodeURIComponent(props.row.name)">{{ props.value }}</a>
<div class="quiet">{{ props.row.name }}</div></q-td>"""
_STATE_CELL = """<q-td :props="props"><q-badge :color="props.row.colour">{{ props.value }}</q-badge></q-td>"""

_MEASURED: tuple[Literal["loss", "validation"], ...] = ("loss", "validation")

Row = dict[str, Any]


def register(root: Path) -> None:
    """Make the pages of the workspace ``root``."""

    @ui.page("/", title="Runs · scrimp")
    def runs() -> None:
        _list(root)

    @ui.page("/runs/{name}", title="A run · scrimp")
    def run(name: str) -> None:
        _run(root, name)

    @ui.page("/compare", title="Runs beside each other · scrimp")
    def compare(runs: str = "") -> None:
        _compare(root, list(dict.fromkeys(runs.split(","))))


@contextmanager
def _page(root: Path, *, at_home: bool = False) -> Iterator[None]:
    """What all pages have; an error that a person can mend is shown in the page's place."""
    ui.colors(primary="#0b5d5a", positive="#17603a", negative="#9b2020", warning="#7a3d00")
    ui.add_css(_STYLE)
    with ui.row().classes("w-full items-baseline justify-between"):
        if at_home:
            _heading("Runs", 1)
        else:
            ui.link("All runs", "/")
        ui.label(text.visible(f"scrimp · {root}")).classes("quiet")
    try:
        yield
    except ScrimpError as error:
        ui.label(text.visible(str(error))).classes("text-negative whitespace-pre-wrap")


def _heading(words: str, level: int = 2) -> None:
    """A heading that is one to a screen reader as well."""
    with ui.element(f"h{level}"):
        ui.label(text.visible(words))


# --- the list ---------------------------------------------------------------------------------------------------------


def _list(root: Path) -> None:
    with _page(root, at_home=True):
        rows = [_row(run) for run in listed(root)]
        empty = ui.label("There is no run in this workspace yet. `scrimp fit FILE --out run` makes one; it is here as "
                         "soon as it has begun.").classes("quiet")
        with ui.row().classes("w-full items-center"):
            sought = ui.input(placeholder="Search").props('dense outlined clearable aria-label="Search"')
            button = ui.button("Compare").props("outline")
            ui.label("Select two to eight finished runs to compare them.").classes("quiet")
        table = _table(rows, selection="multiple", pagination=25, run="Run", verb="Verb", state="State", way="Best way",
                       score="Score", forgot="Forgotten", took="Took", began="Began")
        table.add_slot("body-cell-run", _RUN_CELL)
        table.add_slot("body-cell-state", _STATE_CELL)
        table.bind_filter_from(sought, "value")
        empty.bind_visibility_from(table, "rows", backward=lambda found: not found)
        button.on_click(lambda: _go_compare(table.selected))
        button.bind_enabled_from(table, "selected", backward=lambda chosen: 2 <= len(chosen) <= _MOST)

        def look() -> None:
            if (now := _readable(_row(run) for run in listed(root))) != table.rows:
                table.update_rows(now, clear_selection=False)

        ui.timer(2 * _EVERY_S, look)


def _table(rows: Iterable[Row], *, selection: Literal["multiple"] | None = None, pagination: int | None = None,
           **labels: str) -> ui.table:
    """Rows that are told apart by their ``name``, with a column for each label."""
    columns = [{"name": name, "label": label, "field": name, "align": "left", "sortable": True}
               for name, label in labels.items()]
    return ui.table(rows=_readable(rows), columns=columns, row_key="name", selection=selection,
                    pagination=pagination).classes("w-full").props("wrap-cells")


def _readable(rows: Iterable[Row]) -> list[Row]:
    """The rows with texts that can be sent and seen."""
    return [{key: text.visible(value) if isinstance(value, str) else value for key, value in row.items()}
            for row in rows]


def _row(run: Followed) -> Row:
    best = run.outcome.best if run.outcome else None
    tested = best.test[0] if best and best.test else best.validation if best else None
    return {"name": run.name, "run": run.title, "verb": run.kind, "state": run.state,
            "colour": _COLOURS[run.state], "way": best.title if best else "",
            "score": f"{numbers.interval(tested)} {numbers.metric_name(tested.metric)}" if tested else "",
            "forgot": numbers.interval(best.retention) if best and best.retention else "",
            "took": numbers.duration(run.seconds), "began": _moment(run.began)}


def _moment(at: Any) -> str:
    """When that was; nothing where a file says something that is no time."""
    try:
        return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, TypeError, ValueError):
        return ""


def _go_compare(chosen: Sequence[Row]) -> None:
    ui.navigate.to("/compare?runs=" + ",".join(quote(row["name"], safe="") for row in chosen))


# --- one run ----------------------------------------------------------------------------------------------------------


def _run(root: Path, name: str) -> None:
    with _page(root):
        run = follow(root, name)
        if run is None:
            ui.label("There is no such run in this workspace; it may have been freed.").classes("text-negative")
            return
        _heading(run.title, 1)
        ui.label(_asked(run)).classes("quiet")
        live = _Live()
        live.show(run)

        def look() -> None:
            found = follow(root, name)
            if found is not None:
                live.show(found)
            if found is None or found.state not in ("running", "interrupted"):
                timer.deactivate()

        timer = ui.timer(_EVERY_S, look)


def _asked(run: Followed) -> str:
    limit = f" · may take {numbers.duration(run.limit_s)}" if run.limit_s else ""
    words = [f"scrimp {run.kind}", str(run.asked.get("model") or ""), f"seed {run.asked.get('seed', 0)}"]
    return text.visible(" · ".join(filter(None, words)) + limit + f" · begun {_moment(run.began)}")


class _Live:
    """A run's page below its heading; `show` brings it up to date, and rewrites only what has changed."""

    def __init__(self) -> None:
        with ui.row().classes("w-full items-center"):
            self._state = ui.badge()
            self._took = ui.label()
            self._report = ui.row()
        self._bar = ui.linear_progress(show_value=False).props('aria-label="Time spent of what was allowed"')
        self._problem = ui.label().classes("text-negative whitespace-pre-wrap")
        self._parts: dict[str, tuple[Any, ui.column]] = {
            part: (None, ui.column().classes("w-full")) for part in ("said", "ways", "loss", "validation", "ledger")}

    def show(self, run: Followed) -> None:
        """Bring the page up to date."""
        self._state.set_text(run.state)
        self._state.props(f"color={_COLOURS[run.state]}")
        seconds = run.seconds if run.state != "running" else max(time.time() - run.began, run.seconds)
        self._took.set_text(numbers.duration(max(seconds, 0.0)) + (
            "; the same command goes on with it" if run.state == "interrupted" else ""))
        self._bar.set_visibility(run.limit_s is not None and run.outcome is None)
        self._bar.set_value(min(seconds / run.limit_s, 1.0) if run.limit_s else 0.0)
        self._problem.set_text(text.visible(run.problem))
        ended = run.outcome is not None
        self._part("said", ended, lambda: _said(run))
        self._part("ways", (ended, run.state, run.tried), lambda: _ways(run))
        for what in _MEASURED:
            found = figures.trained(run.rungs, what) if ended else run.curves
            options = figures.live_curves(found, what)
            self._part(what, options, partial(_drawn, options, "Training loss" if what == "loss" else "Validation"))
        self._part("ledger", len(run.events), lambda: _ledger(run))
        if ended and not self._report.default_slot.children:
            with self._report:
                ui.link("Open the report", f"/reports/{quote(run.name, safe='')}", new_tab=True)

    def _part(self, name: str, content: Any, make: Callable[[], None]) -> None:
        """Make a part again if its content is another."""
        before, place = self._parts[name]
        if content == before:
            return
        self._parts[name] = content, place
        place.clear()
        with place:
            make()


def _said(run: Followed) -> None:
    """What came of it, in the words of the report."""
    if run.outcome is None:
        return
    place = story.standing(run.outcome)
    for words in filter(None, (" ".join(story.headline(run.outcome)), story.verdict(place),
                               story.expected(run.outcome))):
        ui.label(text.visible(words))


def _ways(run: Followed) -> None:
    _heading("Ways")
    if run.outcome is None:
        rows = [{"name": way.name, "way": way.title, "state": _stage(run, way),
                 "took": "" if way.seconds is None else numbers.duration(way.seconds),
                 "foreseen": "" if way.foreseen_s is None else numbers.duration(way.foreseen_s)} for way in run.tried]
        if rows:
            _table(rows, way="Way", state="State", foreseen="Foreseen", took="Took")
        else:
            ui.label("The rows are read and the first ways are timed.").classes("quiet")
        return
    _table((_way(rung, rung.name == run.outcome.winner) for rung in run.outcome.rungs), way="Way",
           validation="Validation", test="Test", forgot="Forgotten", took="Took", memory="Memory", ships="Ships")


def _stage(run: Followed, way: Tried) -> str:
    if way.seconds is not None:
        return "finished"
    return "to come" if not way.begun else "now" if run.state == "running" else "begun"


def _way(rung: Any, won: bool) -> Row:
    tested = rung.test[0] if rung.test else None
    return {"name": rung.name, "way": rung.title + (" (chosen)" if won else ""),
            "validation": numbers.interval(rung.validation) if rung.validation else rung.skipped or "",
            "test": numbers.interval(tested) if tested else "",
            "forgot": numbers.interval(rung.retention) if rung.retention else "",
            "took": numbers.duration(rung.bill.wall_s), "memory": numbers.size(rung.bill.peak_memory),
            "ships": numbers.size(rung.ship_bytes)}


def _drawn(options: Mapping[str, Any], title: str, *, high: str = "20rem") -> None:
    if any(series["data"] for series in options["series"]):
        _heading(title)
        ui.echart(dict(options), renderer="svg").classes("w-full").style(f"height: {high}")


def _ledger(run: Followed) -> None:
    with ui.expansion(f"Ledger, {numbers.count(len(run.events))} lines").classes("w-full"):
        last = list(enumerate(run.events))[-_LINES:][::-1]
        _table(({"name": place, "at": _moment(event.get("at", 0)), "event": str(event.get("event")),
                 "told": text.clip(", ".join(f"{name} {value}" for name, value in event.items()
                                             if name not in ("event", "at", "environment")), 300)}
                for place, event in last), pagination=20, at="At", event="Event", told="Told")


# --- several ----------------------------------------------------------------------------------------------------------


def _compare(root: Path, names: Sequence[str]) -> None:
    with _page(root):
        _heading("Runs beside each other", 1)
        found = [run for name in names[:_MOST] if (run := follow(root, name)) is not None and run.outcome is not None]
        if len(found) < 2:
            ui.label("Two finished runs or more are needed.").classes("text-negative")
            return
        groups, labels = same_rows(found), _labels(found)
        if len(groups) > 1:
            ui.label("These runs were not measured by one metric on one test set. Scores are set beside each other "
                     "only where they were; costs and curves are beside each other in any case."
                     ).classes("text-warning")
        _beside(labels)
        for group in groups:
            _scored({label: run for label, run in labels.items() if run in group})
        _chosen("Training loss", {"step": "By step", "seconds": "By time"},
                lambda by: figures.curves(labels, by))  # type: ignore[arg-type]
        _drawn(figures.bills(labels), "Where the time went")


def _labels(runs: Sequence[Followed]) -> dict[str, Followed]:
    """A short name for each run, different ones for different runs."""
    titles = [text.clip(text.visible(run.title), 40) for run in runs]
    return {f"{title} {run.name[-6:]}" if titles.count(title) > 1 else title: run
            for title, run in zip(titles, runs, strict=True)}


def _beside(labels: Mapping[str, Followed]) -> None:
    rows = []
    for label, run in labels.items():
        assert run.outcome is not None
        bill = run.outcome.bill
        rows.append({**_row(run), "run": label, "cpu": numbers.duration(bill.cpu_s),
                     "memory": numbers.size(bill.peak_memory), "trained": numbers.short(bill.tokens_backward),
                     "flops": numbers.short(round(bill.flops)), "ships": numbers.size(run.outcome.best.ship_bytes)})
    table = _table(rows, run="Run", way="Best way", score="Score", forgot="Forgotten", took="Took", cpu="Processor",
                   memory="Memory", trained="Tokens trained on", flops="FLOPs", ships="Ships")
    table.add_slot("body-cell-run", _RUN_CELL)


def _scored(group: Mapping[str, Followed]) -> None:
    """Of runs measured on the same rows: the scores, and what they cost."""
    tested = {label: run.outcome.best.test[0] for label, run in group.items() if run.outcome and run.outcome.best.test}
    if len(group) > 1 and tested:
        _drawn(figures.scores(tested), "Scores on rows of one test set, with 95% intervals",
               high=f"{8 + 2 * len(tested)}rem")
    if any(rung.test for run in group.values() for rung in run.rungs):
        _chosen("Every way by what it costs: " + ", ".join(group), {
            "seconds": "Time", "memory": "Memory", "bytes": "Bytes"},
            lambda cost: figures.pareto(group, cost))  # type: ignore[arg-type]


def _chosen(title: str, choices: Mapping[str, str], options: Callable[[str], dict[str, Any]]) -> None:
    """A figure with a choice of what it is drawn by."""
    first = next(iter(choices))
    if not any(series["data"] for series in options(first)["series"]):
        return
    _heading(title)
    ui.toggle(dict(choices), value=first, on_change=lambda event: show(event.value)).props("no-caps outline")
    chart = ui.echart(options(first), renderer="svg").classes("w-full").style("height: 24rem")

    def show(choice: str) -> None:
        chart.options.clear()
        chart.options.update(options(choice))
        chart.update()
