"""Drawings of curves over total cost, as SVG: a panel for each arm, beside chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from benchmarks.plots import DIM, STYLE, Line, band, line, sheet
from benchmarks.selection.curves_arms import ARMS, CHANCE
from benchmarks.selection.curves_told import Curve
from scrimp.evaluation.statistics import t_interval
from scrimp.reports.charts import Scale, element

__all__ = ["drawing"]

_ACROSS, _WIDE, _HIGH = 4, 214, 150            # panels in a row; of a panel, in pixels
_LEFT, _TOP, _GAP, _BELOW = 54, 34, 16, 24     # around panels
_OWN, _CHANCE, _BEST = "#0a5fb4", "#6e7781", "#1a7f37"


def drawing(found: Mapping[str, Curve], *, title: str, measure: str, better: str) -> str:
    """All arms of a pool, those with a ceiling last; up is better."""
    arms = [name for name in ARMS if name in found and name not in CHANCE and ARMS[name].kind != "ceiling"]
    sign = 1 if better == "higher" else -1
    level = _level(found, sign)
    span = _span(found, arms)
    down = -(-len(arms) // _ACROSS)
    wide = _LEFT + _ACROSS * (_WIDE + _GAP)
    high = _TOP + down * (_HIGH + _TOP + _BELOW) + 24
    panels = [_panel(found, name, level, span, sign, number) for number, name in enumerate(arms)]
    said = f"{measure}, up is better; over operations in all, those of selecting included"
    return sheet(title, wide, high, *panels, element("text", said, x=_LEFT, y=high - 8, **STYLE))


def _level(found: Mapping[str, Curve], sign: int) -> Scale:
    """From half as far below chance as the ceiling is above it."""
    means = np.concatenate([found[name].quality.mean(axis=0) for name in (*CHANCE, "oracle") if name in found])
    return Scale.around([sign * float(means.max()), sign * float(means.min() - np.ptp(means) / 2)], about=4)


def _span(found: Mapping[str, Curve], arms: Sequence[str]) -> tuple[float, float]:
    """Logarithms of the cheapest and the dearest point."""
    costs = np.concatenate([found[name].total().mean(axis=0) for name in (*arms, *CHANCE) if name in found])
    return math.log10(costs.min()) - 0.05, math.log10(costs.max()) + 0.05


def _panel(found: Mapping[str, Curve], name: str, level: Scale, span: tuple[float, float], sign: int,
           number: int) -> Markup:
    row, column = divmod(number, _ACROSS)
    own = found[name]
    chance = [found[one] for one in CHANCE if one in found]
    inside = element(
        "svg", *(_curve(one, one.total(), level, span, sign, _CHANCE) for one in chance),
        line(_points(found["oracle"], found["oracle"].total(), level, span, sign), _BEST, dashes="2 3"),
        *([line(_points(own, own.training, level, span, sign), _OWN, dashes="5 3")] if own.selecting.any() else []),
        _curve(own, own.total(), level, span, sign, _OWN), width=_WIDE, height=_HIGH)
    told = element("text", name, element("tspan", f"  {ARMS[name].what}", fill=_CHANCE, font_weight="normal"),
                   x=0, y=-8, font_weight="bold", **STYLE)
    frame = element("rect", width=_WIDE, height=_HIGH, fill="none", stroke=DIM)
    return element("g", _grid(level, span, sign, numbers=column == 0), frame, inside, told,
                   transform=f"translate({_LEFT + column * (_WIDE + _GAP)},{_TOP + row * (_HIGH + _TOP + _BELOW)})")


def _grid(level: Scale, span: tuple[float, float], sign: int, *, numbers: bool) -> Markup:
    parts = []
    for tick in level.ticks:
        y = round(_HIGH * (1 - _at(level, sign, sign * tick)), 1)
        parts.append(element("line", x1=0, x2=_WIDE, y1=y, y2=y, stroke=DIM))
        if numbers:
            parts.append(element("text", level.text(tick), x=-6, y=y + 4, text_anchor="end", **STYLE))
    for power in range(math.floor(span[0]), math.ceil(span[1]) + 1):
        for factor in (1, 2, 5):
            at = (power + math.log10(factor) - span[0]) / (span[1] - span[0])
            if 0 <= at <= 1:
                x = round(_WIDE * at, 1)
                parts.append(element("line", x1=x, x2=x, y1=0, y2=_HIGH, stroke=DIM))
                parts.append(element("text", f"{factor}e{power}", x=x, y=_HIGH + 14, text_anchor="middle",
                                     **{**STYLE, "font_size": 9}))
    return element("g", *parts)


def _curve(one: Curve, cost: np.ndarray, level: Scale, span: tuple[float, float], sign: int, colour: str) -> Markup:
    """The means as a line, with the interval of each as a band."""
    ends = np.array([t_interval(values.tolist()) for values in one.quality.T])
    across = [x for x, _ in _points(one, cost, level, span, sign)]
    low, high = ([_HIGH * (1 - _at(level, sign, value)) for value in ends[:, side]] for side in (0, 1))
    return element("g", band(across, low, high, colour),
                   line(_points(one, cost, level, span, sign), colour))


def _points(one: Curve, cost: np.ndarray, level: Scale, span: tuple[float, float], sign: int) -> Line:
    """Means over seeds, in pixels."""
    across = (np.log10(cost.mean(axis=0)) - span[0]) / (span[1] - span[0])
    return [(_WIDE * x, _HIGH * (1 - _at(level, sign, y)))
            for x, y in zip(across.tolist(), one.quality.mean(axis=0).tolist(), strict=True)]


def _at(level: Scale, sign: int, quality: float) -> float:
    """How high on a panel a quality stands; a loss, of which less is better, hangs from the top."""
    return level.at(sign * quality) if sign > 0 else 1 - level.at(sign * quality)
