"""What is drawn of runs, as options of ECharts: plain data, so that no text of a run becomes part of a page's code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from scrimp.evaluation.outcome import Rung, Score
from scrimp.planning.fronts import front
from scrimp.reports import numbers
from scrimp.reports.text import visible
from scrimp.watching.runs import Followed, Spot

__all__ = ["COSTS", "PALETTE", "bills", "curves", "live_curves", "pareto", "scores", "trained"]

#: of the runs and trainings of a figure, in order; read on white, and told apart by those who see fewer colours
PALETTE = ("#0b5d5a", "#b3541e", "#3b4a9b", "#8a6d00", "#8c2f5f", "#4d7c0f", "#5c5850", "#0e7490",
           "#6d4aa2", "#a3355f")
Cost = Literal["seconds", "memory", "bytes"]
#: what quality is set against: its name on the axis, and of a way its value
COSTS: Mapping[Cost, str] = {"seconds": "seconds that the way took", "memory": "memory at its highest, MiB",
                             "bytes": "to ship beside the base, MiB"}
_DRAWN = 2000  # points of a line: more cannot be told apart

Options = dict[str, Any]


def live_curves(found: Mapping[str, Sequence[Spot]], what: Literal["loss", "validation"]) -> Options:
    """A line for each training that goes on or went before."""
    lines = {training: [(spot.step, value) for spot in spots if (value := getattr(spot, what)) is not None]
             for training, spots in found.items()}
    axis = "training loss, nats a token" if what == "loss" else "validation"
    return _lines({name: line for name, line in lines.items() if line}, x="step", y=axis)


def trained(rungs: Iterable[Rung], what: Literal["loss", "validation"]) -> Mapping[str, Sequence[Spot]]:
    """The finished trainings of a run in the form of those that go on."""
    return {rung.title: [Spot(point.step, point.seconds, point.loss, point.validation) for point in rung.curve]
            for rung in rungs if any(getattr(point, what) is not None for point in rung.curve)}


def curves(runs: Mapping[str, Followed], by: Literal["step", "seconds"]) -> Options:
    """The training losses of the best trained way of each run, by step or by seconds of training."""
    lines = {}
    for label, run in runs.items():
        rung = next((rung for rung in run.rungs if rung.curve), None)
        if rung is not None:
            lines[f"{label}: {rung.title}"] = [(point.step if by == "step" else point.seconds, point.loss)
                                               for point in rung.curve]
    return _lines(lines, x="step" if by == "step" else "seconds of training", y="training loss, nats a token")


def _lines(lines: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> Options:
    return {
        **_shared(), "xAxis": _axis(x), "yAxis": _axis(y, scale=True),
        "legend": {"type": "scroll", "bottom": 0, "data": list(map(visible, lines))},
        "tooltip": {"renderMode": "richText", "trigger": "axis"},
        "dataZoom": [{"type": "inside"}],
        "series": [{"type": "line", "name": visible(name), "showSymbol": len(line) < 30, "symbol": _symbol(at),
                    "data": [list(point) for point in _thinned(line)]}
                   for at, (name, line) in enumerate(lines.items())]}


def _thinned(line: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    apart = -(-len(line) // _DRAWN)
    return [*line[:-1:apart], *line[-1:]] if apart > 1 else line


def scores(ways: Mapping[str, Score]) -> Options:
    """A spot for each score, and a line over its 95 % interval; all are of one metric and the same test rows.

    How many of those rows a score is of is said: a run whose time was short has measured fewer.
    """
    names, metric = list(ways)[::-1], next(iter(ways.values())).metric
    labels = [f"{visible(name)}, {numbers.count(ways[name].n)} rows" for name in names]
    lines = [{"coords": [[ways[name].low, at], [ways[name].high, at]]} for at, name in enumerate(names)]
    return {
        **_shared(left=260), "xAxis": _axis(numbers.metric_name(metric), scale=True),
        "yAxis": {"type": "category", "data": labels, "axisLabel": {"width": 240, "overflow": "truncate"}},
        "tooltip": {"renderMode": "richText", "trigger": "item"},
        "series": [
            {"type": "lines", "coordinateSystem": "cartesian2d", "silent": True, "data": lines,
             "lineStyle": {"color": PALETTE[0], "width": 2, "opacity": 0.55}},
            {"type": "scatter", "name": visible(numbers.metric_name(metric)), "symbolSize": 11,
             "data": [[ways[name].value, at] for at, name in enumerate(names)]}]}


def pareto(runs: Mapping[str, Followed], cost: Cost) -> Options:
    """The ways of all runs by what they cost and what they score on the test rows; the front is joined by a line.

    All runs are of one metric on the same rows. Ways without a test score are left out.
    """
    spots = {label: [(_cost(rung, cost), rung.test[0].value, rung.title, rung.test[0].higher_is_better)
                     for rung in run.rungs if rung.test] for label, run in runs.items()}
    every = [spot for found in spots.values() for spot in found]
    best = front([(-x, y if higher else -y) for x, y, _, higher in every])
    joined = sorted(every[place][:2] for place in best)
    metric = next((rung.test[0].metric for run in runs.values() for rung in run.rungs if rung.test), "score")
    return {
        **_shared(), "xAxis": _axis(COSTS[cost], scale=True), "yAxis": _axis(numbers.metric_name(metric), scale=True),
        "legend": {"type": "scroll", "bottom": 0}, "tooltip": {"renderMode": "richText", "trigger": "item"},
        "series": [
            {"type": "line", "name": "no way is better in both", "step": "end", "showSymbol": False, "silent": True,
             "data": [list(spot) for spot in joined], "lineStyle": {"color": "#5c5850", "type": "dashed"},
             "itemStyle": {"color": "#5c5850"}},
            *({"type": "scatter", "name": visible(label), "symbol": _symbol(at), "symbolSize": 13,
               "itemStyle": {"color": PALETTE[at % len(PALETTE)]},
               "data": [{"name": visible(title), "value": [x, y]} for x, y, title, _ in found]}
              for at, (label, found) in enumerate(spots.items()))]}


def _cost(rung: Rung, cost: Cost) -> float:
    if cost == "seconds":
        return rung.bill.wall_s
    return (rung.bill.peak_memory if cost == "memory" else rung.ship_bytes) / 2**20


def bills(runs: Mapping[str, Followed]) -> Options:
    """For each run a bar of seconds, parted into what they were spent on."""
    told = {label: run.outcome.parts for label, run in runs.items() if run.outcome}
    labels = list(told)[::-1]
    parts = list(dict.fromkeys(part for found in told.values() for part in found))
    return {
        **_shared(left=220), "xAxis": _axis("seconds"),
        "tooltip": {"renderMode": "richText", "trigger": "axis", "axisPointer": {"type": "shadow"}},
        "yAxis": {"type": "category", "data": list(map(visible, labels)),
                  "axisLabel": {"width": 200, "overflow": "truncate"}},
        "legend": {"type": "scroll", "bottom": 0},
        "series": [{"type": "bar", "stack": "seconds", "name": visible(part), "barMaxWidth": 34,
                    "itemStyle": {"borderColor": "#fbfaf7", "borderWidth": 1},
                    "data": [round(told[label][part].wall_s, 3) if part in told[label] else 0 for label in labels]}
                   for part in parts]}


def _shared(*, left: int = 70) -> Options:
    return {"color": list(PALETTE), "animation": False, "aria": {"enabled": True},
            "grid": {"left": left, "right": 30, "top": 20, "bottom": 75}}


def _axis(name: str, *, scale: bool = False) -> Options:
    return {"type": "value", "name": visible(name), "nameLocation": "middle", "nameGap": 45 if scale else 30,
            "scale": scale}


def _symbol(at: int) -> str:
    """Shapes beside colours, so that no difference is one of colour alone."""
    return ("circle", "rect", "triangle", "diamond", "pin", "arrow")[at % 6]
