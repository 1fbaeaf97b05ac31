"""What the benchmarks' drawings have in common: a sheet of SVG, lines with points, bands."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from scrimp.reports.charts import element

__all__ = ["DIM", "INK", "STYLE", "Line", "band", "line", "sheet"]

INK, DIM = "#1f2328", "#d8dee4"
STYLE = {"font_family": "system-ui, sans-serif", "font_size": 11, "fill": INK}

Line = list[tuple[float, float]]


def sheet(title: str, wide: float, high: float, *parts: str) -> str:
    """A whole drawing, on white."""
    return str(element("svg", element("title", title), element("rect", width=wide, height=high, fill="#ffffff"), *parts,
                       xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {wide} {high}", width=wide, height=high,
                       role="img")) + "\n"


def line(points: Line, colour: str, dashes: str = "none", *, dots: bool | None = None, width: float = 1.6) -> Markup:
    """Joined points; dots are left out of dashed lines, unless told otherwise."""
    shown = dashes == "none" if dots is None else dots
    return element("g", element("polyline", points=_text(points), fill="none", stroke=colour, stroke_width=width,
                                stroke_dasharray=dashes),
                   *(element("circle", cx=round(x, 1), cy=round(y, 1), r=2, fill=colour) for x, y in points if shown))


def band(across: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str) -> Markup:
    """The area between two lines over the same places."""
    around = [*zip(across, low, strict=True), *reversed([*zip(across, high, strict=True)])]
    return element("polygon", points=_text(around), fill=colour, fill_opacity="0.16")


def _text(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
