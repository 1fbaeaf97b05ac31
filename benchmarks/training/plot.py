"""A drawing of the workloads as SVG: how many times TRL's speed each engine has, and what the roof would allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from benchmarks.plots import DIM, INK, STYLE, sheet
from scrimp.reports.charts import element

__all__ = ["drawing", "over", "roof_over"]

_LEFT, _WIDE, _BAR, _GAP, _TOP = 150, 520, 16, 30, 26
_COLOURS = {"scrimp": "#0a5fb4", "scrimp, no compiler": "#6cb6ff"}
_OTHER = "#8c959f"


def over(run: Mapping[str, Any], engine: str) -> float:
    """How many times TRL's tokens a second an engine has."""
    return float(run["engines"][engine]["tokens_per_s"] / run["engines"]["TRL"]["tokens_per_s"])


def roof_over(run: Mapping[str, Any]) -> float:
    """How many times TRL's tokens a second scrimp would have if its products ran at the roof, and nothing else ran."""
    return over(run, "scrimp") * float(run["matmul_peak"] / run["engines"]["scrimp"]["flops_per_s"])


def drawing(runs: Sequence[Mapping[str, Any]]) -> str:
    """A group of bars for each workload; a line across it is the roof."""
    most = max(roof_over(run) for run in runs)
    groups, y = list[Markup](), _TOP
    for run in runs:
        groups.append(_group(run, y, _WIDE / most))
        y += len(run["engines"]) * _BAR + _GAP
    return sheet("tokens a second over TRL's, by workload and engine", _LEFT + _WIDE + 90, y + 6, *groups)


def _group(run: Mapping[str, Any], top: int, scale: float) -> Markup:
    threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
    parts = [element("text", f"{run['workload']}, {threads}", x=0, y=top - 6, font_weight="bold", **STYLE)]
    for number, engine in enumerate(run["engines"]):
        y, length = top + number * _BAR, round(over(run, engine) * scale, 1)
        parts += [element("text", engine, x=_LEFT - 6, y=y + 11, text_anchor="end", **STYLE),
                  element("rect", x=_LEFT, y=y + 2, width=length, height=_BAR - 4, fill=_COLOURS.get(engine, _OTHER)),
                  element("text", f"{over(run, engine):.1f} x", x=_LEFT + length + 4, y=y + 11, **STYLE)]
    x, low = round(_LEFT + roof_over(run) * scale, 1), top + len(run["engines"]) * _BAR
    return element("g", *parts, element("line", x1=_LEFT, x2=_LEFT, y1=top, y2=low, stroke=DIM),
                   element("line", x1=x, x2=x, y1=top, y2=low, stroke=INK, stroke_dasharray="3 2"),
                   element("text", f"roof {roof_over(run):.1f} x", x=x + 4, y=low - 4, **STYLE))
