"""Charts of many rows at once, those that were kept beside those that were dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from scrimp.reports import numbers
from scrimp.reports.charts import Cell, Chart, Kind, Scale, drawing, element, guide, levels, percent_of, symbol
from scrimp.reports.text import clip

__all__ = ["Place", "Way", "front", "histogram", "scatter", "shares_within", "spot"]

_HEIGHT, _TALL = 190, 420
_TICKS = 24  # pixels below a chart for its numbers
_COLUMNS = 4  # between two ticks
_GRID = 60  # points of a line
_HOVER = 160  # characters shown when a place is pointed at
_INSET = 0.02  # of a scatter chart, so that no mark is cut
_KEPT = "M0 -5L5 0L0 5L-5 0Z"


def histogram(key: str, title: str, told: str, kept: np.ndarray, dropped: np.ndarray, *, axis: str,
              say: Callable[[float], str], tail: float = 0.0) -> Chart:
    """How finite values spread: of each column the share of all dropped rows, and beside it that of all kept rows.

    Args:
        tail: the share of values at the upper end that stand in the last column, so that a few do not squeeze the rest.
    """
    every = np.concatenate([kept, dropped])
    scale = Scale.around([float(every.min()), float(np.quantile(every, 1 - tail))])
    edges = np.linspace(scale.ticks[0], scale.ticks[-1], _COLUMNS * (len(scale.ticks) - 1) + 1)
    counts = [np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0] for part in (dropped, kept)]
    shares = [count / max(count.sum(), 1) for count in counts]
    level = Scale.around([0.0, float(max(part.max() for part in shares))], percent=True, about=4)
    columns = [_column(share, at, len(edges) - 1, level, kind)
               for kind, part in enumerate(shares) for at, share in enumerate(part.tolist()) if share]
    rows = tuple((f"{say(low)} to {say(high)}", numbers.count(int(fell)), numbers.count(int(stayed)))
                 for (low, high), fell, stayed in zip(pairwise(edges.tolist()), *counts, strict=True) if fell or stayed)
    svg = drawing(key, title, told, _HEIGHT + _TICKS, levels(level, _HEIGHT), guide(scale, _HEIGHT, _HEIGHT), *columns,
                  class_="chart plot")
    last = f"; the highest {tail:.0%} stand in the last column" if tail and every.max() > edges[-1] else ""
    return Chart(title, svg, (axis, "rows dropped", "rows kept"), rows,
                 f"{axis}; of each pair the left column is the share of dropped rows, the right one of kept rows{last}")


def _column(share: float, at: int, columns: int, level: Scale, kind: int) -> Markup:
    height = _HEIGHT * level.at(share)
    return element("rect", x=percent_of((at + 0.1 + 0.4 * kind) / columns), width=percent_of(0.4 / columns),
                   y=f"{_HEIGHT - height:.1f}", height=f"{height:.1f}", class_="bar strong" if kind else "bar")


def shares_within(key: str, title: str, told: str, kept: np.ndarray, chance: np.ndarray, *, axis: str,
                  radius: float) -> Chart:
    """Which share of distances is at most so large: of ``kept`` [M], dashed the mean of ``chance`` [draws, M]."""
    scale = Scale.around([0.0, float(max(kept.max(), chance.max()))])
    level = Scale((0.0, 0.25, 0.5, 0.75, 1.0), percent=True)
    grid = np.linspace(scale.ticks[0], scale.ticks[-1], _GRID)
    drawn = [_line(kept, grid, "line"), _line(chance.ravel(), grid, "line chance")]
    shape = element("svg", *drawn, x=0, y=0, width="100%", height=_HEIGHT, viewBox=f"0 0 1000 {_HEIGHT}",
                    preserveAspectRatio="none", overflow="visible")
    x = percent_of(scale.at(radius))
    at = element("line", x1=x, x2=x, y1=0, y2=_HEIGHT, class_="reference")
    rows = tuple((numbers.decimal(tick), f"{(kept <= tick).mean():.1%}", f"{(chance <= tick).mean():.1%}")
                 for tick in (*scale.ticks[1:], radius))
    svg = drawing(key, title, told, _HEIGHT + _TICKS, levels(level, _HEIGHT), guide(scale, _HEIGHT, 0), at, shape,
                  class_="chart plot")
    return Chart(title, svg, ("distance", "near a kept row", "near a choice by chance"), rows,
                 f"{axis}; full line: kept rows, dashed line: as many rows by chance, upright: where that is half")


def _line(values: np.ndarray, grid: np.ndarray, class_: str) -> Markup:
    shares = np.searchsorted(np.sort(values), grid, side="right") / len(values)
    points = " ".join(f"{1000 * at / (len(grid) - 1):.1f},{_HEIGHT * (1 - share):.1f}"
                      for at, share in enumerate(shares.tolist()))
    return element("polyline", points=points, class_=class_, vector_effect="non-scaling-stroke")


@dataclass(frozen=True)
class Place:
    """A row on a scatter chart, and its text for those who point at it."""

    x: float
    y: float
    kept: bool
    text: str


def scatter(key: str, title: str, told: str, places: Sequence[Place], *, axis: str, columns: tuple[str, ...],
            table: Sequence[tuple[Cell, ...]]) -> Chart:
    """Rows as places, the kept ones above the others; each chart fills its room in both directions."""
    across, along = (_fill([getattr(one, name) for one in places]) for name in ("x", "y"))
    drawn = [(one.kept, _placed(one, x, 1 - y)) for one, x, y in zip(places, across, along, strict=True)]
    marks = [mark for kept in (False, True) for is_kept, mark in drawn if is_kept == kept]
    frame = element("rect", x=0, y=0, width="100%", height=_TALL, class_="frame")
    return Chart(title, drawing(key, title, told, _TALL, frame, *marks), columns, tuple(table), axis)


def _fill(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [_INSET + (1 - 2 * _INSET) * ((value - low) / (high - low) if high > low else 0.5) for value in values]


def _placed(one: Place, x: float, y: float) -> Markup:
    words = element("title", clip(f"{'kept' if one.kept else 'dropped'}: {one.text}", _HOVER))
    return element("svg", spot(one.kept, words), x=percent_of(x), y=f"{_TALL * y:.1f}", overflow="visible")


def spot(kept: bool, *inside: Markup) -> Markup:
    """The mark of a row: a filled diamond if it was kept, else a small circle."""
    if kept:
        return element("path", *inside, d=_KEPT, class_="spot kept")
    return element("circle", *inside, r=2.5, class_="spot dropped")


@dataclass(frozen=True)
class Way:
    """A way on a front chart: what it costs (or keeps), how good it is, and whether no other is better in both."""

    label: str
    across: float
    up: float
    kind: Kind
    best: bool


def front(key: str, title: str, told: str, ways: Sequence[Way], *, axis: str, side: str, across: Callable[[float], str],
          up: Callable[[float], str], percent: bool = False) -> Chart:
    """Ways by what they cost and how good they are; those that none beats in both are filled, and a line joins them."""
    scale, level = Scale.around([way.across for way in ways], about=4), Scale.around([way.up for way in ways], about=4,
                                                                                     percent=percent)

    def place(way: Way) -> tuple[float, float]:
        return _INSET + (1 - 2 * _INSET) * scale.at(way.across), _HEIGHT * (1 - level.at(way.up))

    best = sorted((way for way in ways if way.best), key=lambda way: way.across)
    points = " ".join(f"{1000 * x:.1f},{y:.1f}" for x, y in map(place, best))
    line = element("svg", element("polyline", points=points, class_="line chance", vector_effect="non-scaling-stroke"),
                   x=0, y=0, width="100%", height=_HEIGHT, viewBox=f"0 0 1000 {_HEIGHT}", preserveAspectRatio="none",
                   overflow="visible")
    marks = [element("g", _named_mark(way, *place(way))) for way in sorted(ways, key=lambda way: way.best)]
    low, high = across(scale.ticks[0]), across(scale.ticks[-1])
    ends = [element("text", text, x=x, y=_HEIGHT + 20, text_anchor=anchor, class_="tick")
            for text, x, anchor in ((low, "0", "start"), (high, "100%", "end"))]
    rows = tuple((clip(way.label, 60), across(way.across), up(way.up), "yes" if way.best else "no") for way in ways)
    svg = drawing(key, title, told, _HEIGHT + _TICKS, levels(level, _HEIGHT), line, *marks, *ends, class_="chart plot")
    return Chart(title, svg, ("", axis, side, "on the front"), rows, f"across: {axis}; upwards: {side}")


def _named_mark(way: Way, x: float, y: float) -> Markup:
    """The mark with its name, which leans away from the nearer edge."""
    right = x > 0.5
    return element("g", element("svg", symbol(way.kind, way.best), x=percent_of(x), y=f"{y:.1f}", overflow="visible"),
                   element("text", clip(way.label, 24), x=percent_of(x), dx=-10 if right else 10, y=f"{y + 4:.1f}",
                           text_anchor="end" if right else "start", class_="label"))
