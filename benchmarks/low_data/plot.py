"""A drawing of all tasks as SVG: a panel for each, a line for each way over the number of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from benchmarks.low_data.told import Place, interval
from benchmarks.low_data.ways import OWN, WAYS
from benchmarks.plots import DIM, STYLE, band, line, sheet
from scrimp.reports.charts import Scale, element

__all__ = ["drawing"]

_ACROSS, _WIDE, _HIGH = 3, 262, 180           # panels in a row; of a panel, in pixels
_LEFT, _TOP, _GAP, _BELOW = 44, 34, 36, 24    # around panels
_LOOKS = {                                    # colour and dashes: told apart without colours too
    "words": ("#6e7781", "2 3"), "frozen": ("#9a6700", "6 3"), "setfit": ("#1a7f37", "9 3"),
    "autogluon": ("#8250df", "1 3"), "untouched": ("#6e7781", "2 3"), "fewshot": ("#9a6700", "6 3"),
    "lora": ("#bc4c00", "9 3 2 3"), OWN: ("#0a5fb4", "none"),
}


def drawing(told: Sequence[Place]) -> str:
    """Mean scores over seeds; scrimp's with its interval as a band."""
    tasks = list(dict.fromkeys(place.task for place in told))
    ways = [way for way in WAYS if any(way in place.scores for place in told)]
    down = -(-len(tasks) // _ACROSS)
    wide = _LEFT + _ACROSS * (_WIDE + _GAP)
    high = _TOP + down * (_HIGH + _TOP + _BELOW) + 24
    panels = [_panel([place for place in told if place.task == task], number) for number, task in enumerate(tasks)]
    return sheet("score over number of rows, by task", wide, high, *panels, _legend(ways, high - 12))


def _panel(told: Sequence[Place], number: int) -> Markup:
    row, column = divmod(number, _ACROSS)
    level = Scale.around([float(scores.mean()) for place in told for scores in place.scores.values()], percent=True,
                         about=4)
    counts = [place.count for place in told]
    ways = [way for way in WAYS if any(way in place.scores for place in told)]
    inside = element("svg", *(_line(told, way, level) for way in ways), width=_WIDE, height=_HIGH)
    return element("g", *_grid(level, counts), element("text", told[0].task, x=0, y=-8, font_weight="bold", **STYLE),
                   element("rect", width=_WIDE, height=_HIGH, fill="none", stroke=DIM), inside,
                   transform=f"translate({_LEFT + column * (_WIDE + _GAP)},{_TOP + row * (_HIGH + _TOP + _BELOW)})")


def _grid(level: Scale, counts: Sequence[int]) -> list[Markup]:
    parts = []
    for tick in level.ticks:
        y = round(_HIGH * (1 - level.at(tick)), 1)
        parts += [element("line", x1=0, x2=_WIDE, y1=y, y2=y, stroke=DIM),
                  element("text", level.text(tick), x=-6, y=y + 4, text_anchor="end", **STYLE)]
    return parts + [element("text", str(count), x=_across(count, counts), y=_HIGH + 15, text_anchor="middle", **STYLE)
                    for count in counts]


def _line(told: Sequence[Place], way: str, level: Scale) -> Markup:
    colour, dashes = _LOOKS[way]
    shown = [place for place in told if way in place.scores]
    across = [_across(place.count, [one.count for one in told]) for place in shown]
    means = [_HIGH * (1 - level.at(float(place.scores[way].mean()))) for place in shown]
    drawn = line([*zip(across, means, strict=True)], colour, dashes, dots=True, width=2.4 if way == OWN else 1.4)
    ends = [interval(place.scores[way]) for place in shown]
    if way != OWN or not all(map(math.isfinite, (end for both in ends for end in both))):
        return drawn
    low, high = ([_HIGH * (1 - level.at(both[side])) for both in ends] for side in (0, 1))
    return element("g", band(across, low, high, colour), drawn)


def _across(count: int, counts: Sequence[int]) -> float:
    """Where a number of rows stands, by its logarithm; at the middle, if it is alone."""
    low, high = math.log(min(counts)), math.log(max(counts))
    share = (math.log(count) - low) / (high - low) if high > low else 0.5
    return round(_WIDE * (0.06 + 0.88 * share), 1)


def _legend(ways: Sequence[str], y: float) -> Markup:
    parts, step = [], 100
    for at, way in enumerate(ways):
        colour, dashes = _LOOKS[way]
        x = _LEFT + step * at
        parts += [line([(x, y - 4), (x + 26, y - 4)], colour, dashes, dots=False, width=2.4 if way == OWN else 1.4),
                  element("text", way, x=x + 32, y=y, **STYLE)]
    return element("g", *parts)
