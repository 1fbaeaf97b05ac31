"""Charts as inline SVG: positions in per cent, text in pixels, so that one drawing fits a phone and a desk.

Every chart names and describes itself for those who do not see it, and carries its numbers as a table. Nothing is
told by colour alone: shape, fill, place and words say the same. Colours and strokes are in the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

from scrimp.reports.text import clip, visible

__all__ = ["Bar", "Chart", "Dot", "Point", "Scale", "bars", "curve", "drawing", "element", "guide", "intervals",
           "levels", "percent_of", "symbol"]

Kind = Literal["untouched", "control", "adapted", "blend"]
Cell = str | int | float

_PHONE, _DESK = 42, 90  # characters of one line, on a phone and on a desk
_TOLD = 400  # characters of a description
_LEAST = 1e-300  # what differs by less is drawn as one: its logarithm may be none
_SYMBOLS = {  # around (0, 0), seven pixels across
    "adapted": "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0Z",
    "control": "M-5.5 -5.5H5.5V5.5H-5.5Z",
    "untouched": "M0 -6.5L6.5 5.5H-6.5Z",
    "blend": "M0 -7.5L7.5 0L0 7.5L-7.5 0Z",
}


@dataclass(frozen=True)
class Chart:
    """A drawing with its numbers: `svg`, and the same as a table of `columns` and `rows`; `note` says what is drawn."""

    title: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def element(name: str, /, *children: str, **attributes: Cell) -> Markup:
    """An element; children and attributes that are not Markup are escaped. ``stroke_width`` is ``stroke-width``."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), visible(str(value)))
        for key, value in attributes.items())
    inside = Markup("").join(child if isinstance(child, Markup) else visible(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inside)


def symbol(kind: Kind, chosen: bool = False) -> Markup:
    """The mark of a kind of rung; the chosen one is filled."""
    return element("path", d=_SYMBOLS[kind], class_=f"mark {kind}{' chosen' if chosen else ''}")


def drawing(key: str, title: str, told: str, height: float, *children: str, class_: str = "chart") -> Markup:
    """The whole of a chart, with its name and what it tells those who do not see it."""
    named, described = f"{key}-title", f"{key}-told"
    return element("svg", element("title", title, id=named), element("desc", clip(told, _TOLD), id=described),
                   *children, class_=class_, role="img", width="100%", height=f"{height:g}", aria_labelledby=named,
                   aria_describedby=described)


def _label(text: str, y: float, beside: str = "") -> Markup:
    """A name that leaves room for what stands ``beside`` it; twice, if a desk has room for more of it than a phone."""
    tight, roomy = (clip(text, max(most - len(beside), 8)) for most in (_PHONE, _DESK))
    drawn = {"label": tight} if tight == roomy else {"label phone": tight, "label desk": roomy}
    return Markup("").join(element("text", name, x=0, y=y, class_=class_) for class_, name in drawn.items())


def percent_of(fraction: float) -> str:
    """A place across the chart; what lies outside stands at the edge."""
    return f"{100 * min(max(fraction, 0.0), 1.0):.2f}%"


@dataclass(frozen=True)
class Scale:
    """Round ticks around some numbers, and where on the axis (0 to 1) a number stands."""

    ticks: tuple[float, ...]
    percent: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, percent: bool = False, about: int = 5) -> Scale:
        """The scale whose round ticks enclose finite ``values``, about ``about`` of them."""
        low, high = min(values), max(values)
        if high - low <= max(1e-9 * max(abs(low), abs(high)), _LEAST):
            room = abs(low) * 0.1 if abs(low) > 100 * _LEAST else 1.0
            low, high = low - room, high + room
        rough = (high - low) / about
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(tuple(index * step for index in range(first, last + 1)), percent)

    def at(self, value: float) -> float:
        """0 at the first tick, 1 at the last."""
        return (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])

    def text(self, tick: float) -> str:
        """A tick with as many decimals as keep the ticks apart."""
        shown, step = (100 * part if self.percent else part for part in (tick, self.ticks[1] - self.ticks[0]))
        if step >= 1e6 or step < 1e-6:
            return f"{shown:.3g}"
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{shown + 0.0:,.{decimals}f}{'%' if self.percent else ''}"


@dataclass(frozen=True)
class Dot:
    """One line of an interval chart: an estimate with its interval."""

    label: str
    value: float
    low: float
    high: float
    kind: Kind
    chosen: bool = False


def intervals(key: str, title: str, told: str, dots: Sequence[Dot], *, axis: str, say: Callable[[float], str],
              percent: bool = False, reference: tuple[float, str] | None = None) -> Chart:
    """A dot with its whiskers for each of ``dots``, on one axis.

    Args:
        key: unique on the page; ids start with it.
        told: what a person who does not see the chart should know first.
        axis: what the axis measures.
        say: writes a value for the table.
        reference: a value to compare with and its name, drawn as a dashed line.
    """
    marks = [reference[0]] if reference else []
    scale = Scale.around([n for dot in dots for n in (dot.low, dot.value, dot.high)] + marks, percent=percent)
    row, top = 44, 8
    foot = top + row * len(dots)
    lines = [guide(scale, foot, top), *(_whisker(dot, scale, top + row * i) for i, dot in enumerate(dots))]
    if reference:
        x = percent_of(scale.at(reference[0]))
        lines.insert(1, element("line", x1=x, x2=x, y1=top, y2=foot, class_="reference"))
    table = tuple((clip(dot.label, _DESK), say(dot.value), say(dot.low), say(dot.high)) for dot in dots)
    note = f"{axis}; dashed: {reference[1]}" if reference else axis
    return Chart(title, drawing(key, title, told, foot + 24, *lines), ("", axis, "95% from", "to"), table, note)


def guide(scale: Scale, foot: float, top: float) -> Markup:
    """Vertical hairlines with their numbers below; those at the ends lean inwards."""
    parts: list[Markup] = []
    for index, tick in enumerate(scale.ticks):
        x = percent_of(scale.at(tick))
        anchor = "start" if index == 0 else "end" if index == len(scale.ticks) - 1 else "middle"
        parts.append(element("line", x1=x, x2=x, y1=top, y2=foot, class_="guide"))
        parts.append(element("text", scale.text(tick), x=x, y=foot + 20, text_anchor=anchor, class_="tick"))
    return element("g", *parts)


def _whisker(dot: Dot, scale: Scale, y: float) -> Markup:
    low, at, high = (percent_of(scale.at(value)) for value in (dot.low, dot.value, dot.high))
    middle = y + 30
    ends = [element("line", x1=x, x2=x, y1=middle - 4, y2=middle + 4, class_="whisker") for x in (low, high)]
    return element(
        "g", _label(dot.label, y + 14),
        element("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker"), *ends,
        element("svg", symbol(dot.kind, dot.chosen), x=at, y=middle, overflow="visible"),
        class_="row chosen" if dot.chosen else "row")


@dataclass(frozen=True)
class Bar:
    """One bar from ``start`` to ``end`` (shares of the whole width), its name, and the value in words."""

    label: str
    start: float
    end: float
    value: str
    strong: bool = False


def bars(key: str, title: str, told: str, rows: Sequence[Bar], *, columns: tuple[str, ...], track: bool = False,
         limit: tuple[float, str] | None = None, table: Sequence[tuple[Cell, ...]] | None = None) -> Chart:
    """One horizontal bar a row, under its name and value.

    Args:
        track: draw the whole width behind each bar, for a share of something.
        limit: a place and its name: a dashed line through all bars.
        table: the numbers, where there are more of them than bars.
    """
    row, foot = 38, 38 * len(rows)
    drawn = [_bar(bar, row * index, track, inset=6 if limit else 0) for index, bar in enumerate(rows)]
    if limit:
        x = percent_of(limit[0])
        drawn.append(element("line", x1=x, x2=x, y1=0, y2=foot + 4, class_="reference"))
        drawn.append(element("text", limit[1], x=x, y=foot + 20, class_="tick",
                             text_anchor="end" if limit[0] > 0.5 else "start"))
    shown = tuple(table) if table is not None else tuple((clip(bar.label, _DESK), bar.value) for bar in rows)
    return Chart(title, drawing(key, title, told, foot + (28 if limit else 4), *drawn), columns, shown)


def _bar(bar: Bar, y: float, track: bool, inset: float) -> Markup:
    behind = [element("rect", x=0, y=y + 22, width="100%", height=9, rx=2, class_="track")] if track else []
    return element(
        "g", _label(bar.label, y + 15, beside=bar.value),
        element("text", bar.value, x="100%", dx=-inset, y=y + 15, text_anchor="end", class_="value"), *behind,
        element("rect", x=percent_of(bar.start), y=y + 22, height=9, rx=2, width=percent_of(bar.end - bar.start),
                class_="bar strong" if bar.strong else "bar"),
        class_="row")


@dataclass(frozen=True)
class Point:
    """A value at an optimizer step."""

    step: int
    value: float


def curve(key: str, title: str, told: str, points: Sequence[Point], *, axis: str, say: Callable[[float], str],
          dotted: bool = False, most_points: int = 200, most_rows: int = 40) -> Chart:
    """``points`` over steps, as one line; more than ``most_points`` are averaged in even groups, and the axis says so.

    Args:
        dotted: mark every point, for a measure taken now and then.
    """
    drawn = _averaged(points, most_points)
    group = math.ceil(len(points) / most_points)
    level = Scale.around([point.value for point in drawn], about=4)
    first, last = points[0].step, max(points[-1].step, points[0].step + 1)
    height, foot = 190, 190
    places = [((point.step - first) / (last - first), 1 - level.at(point.value)) for point in drawn]
    line = " ".join(f"{1000 * x:.1f},{height * y:.1f}" for x, y in places)
    shape = element("svg", element("polyline", points=line, class_="line", vector_effect="non-scaling-stroke"),
                    x=0, y=0, width="100%", height=height, viewBox=f"0 0 1000 {height}", preserveAspectRatio="none",
                    overflow="visible")
    dots = [element("circle", cx=percent_of(x), cy=f"{height * y:.1f}", r=3.5, class_="point")
            for x, y in places if dotted or len(places) == 1]
    ends = [element("text", text, x=x, y=foot + 20, text_anchor=anchor, class_="tick")
            for text, x, anchor in ((f"step {first:,}", "0", "start"), (f"step {points[-1].step:,}", "100%", "end"))]
    said = f"{axis}{f', each point the mean of {group} neighbours' if group > 1 else ''}"
    rows = tuple((f"{point.step:,}", say(point.value)) for point in _averaged(points, most_rows))
    column = f"{axis}{', mean of neighbours' if len(points) > most_rows else ''}"
    svg = drawing(key, title, told, foot + 24, levels(level, height), shape, *dots, *ends, class_="chart plot")
    return Chart(title, svg, ("step", column), rows, said)


def levels(level: Scale, height: float) -> Markup:
    """Horizontal hairlines with their numbers to the left."""
    return element("g", *(part for tick in level.ticks for part in (
        element("line", x1=0, x2="100%", y1=f"{height * (1 - level.at(tick)):.1f}",
                y2=f"{height * (1 - level.at(tick)):.1f}", class_="guide"),
        element("text", level.text(tick), x=-8, y=f"{height * (1 - level.at(tick)) + 4:.1f}", text_anchor="end",
                class_="tick"))))


def _averaged(points: Sequence[Point], most: int) -> list[Point]:
    """At most ``most`` points: the mean of each even group, at the group's last step."""
    if len(points) <= most:
        return list(points)
    edges = [round(index * len(points) / most) for index in range(most + 1)]
    return [Point(points[end - 1].step, sum(p.value for p in points[start:end]) / (end - start))
            for start, end in pairwise(edges)]
