"""The learning curve of a winner, and where it would be with twice the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scrimp.evaluation.outcome import Outlook
from scrimp.reports import numbers
from scrimp.reports.charts import Chart, Scale, drawing, element, levels, percent_of

__all__ = ["chart"]

_TITLE = "What twice the labels would buy"
_HEIGHT, _INSET = 190, 0.02  # pixels; share of the width beside the first and the last mark


def chart(found: Outlook, told: str) -> Chart:
    """What was measured over doublings of the rows, a line through its means, and what twice the labels would give.

    Args:
        told: what a person who does not see the chart should know first.
    """
    then, metric = found.then, found.then.metric
    level = Scale.around([*(value for _, value in found.measured), then.low, then.high], about=4,
                         percent=numbers.is_share(metric))
    means, sizes = _means(found), [*(size for size, _ in found.measured), found.twice]
    first, last = math.log(max(min(sizes), 1)), math.log(max(*sizes, 2))

    def place(rows: int, value: float) -> tuple[float, float]:
        across = (math.log(max(rows, 1)) - first) / max(last - first, 1e-9)
        return _INSET + (1 - 2 * _INSET) * across, _HEIGHT * (1 - level.at(value))

    line = [place(rows, value) for rows, value in means.items()] + [place(found.twice, then.value)]
    path = element("polyline", points=" ".join(f"{1000 * x:.1f},{y:.1f}" for x, y in line), class_="line chance",
                   vector_effect="non-scaling-stroke")
    shape = element("svg", path, x=0, y=0, width="100%", height=_HEIGHT, viewBox=f"0 0 1000 {_HEIGHT}",
                    preserveAspectRatio="none", overflow="visible")
    dots = [element("circle", cx=percent_of(x), cy=f"{y:.1f}", r=3.5, class_="point")
            for x, y in (place(*one) for one in found.measured)]
    x = percent_of(place(found.twice, then.value)[0])
    bottom, top = (f"{place(found.twice, value)[1]:.1f}" for value in (then.low, then.high))
    whisker = element("g", element("line", x1=x, x2=x, y1=bottom, y2=top, class_="whisker"), class_="row chosen")
    ends = [element("text", f"{numbers.count(rows)} rows", x=edge, y=_HEIGHT + 20, text_anchor=anchor, class_="tick")
            for rows, edge, anchor in ((min(sizes), "0", "start"), (found.twice, "100%", "end"))]
    svg = drawing("outlook", _TITLE, told, _HEIGHT + 24, levels(level, _HEIGHT), shape, *dots,
                  whisker, *ends, class_="chart plot")
    table = tuple((numbers.count(rows), numbers.score(value, metric)) for rows, value in means.items())
    return Chart(_TITLE, svg, ("rows", numbers.metric_name(metric)),
                 (*table, (f"{numbers.count(found.twice)}, foreseen", numbers.interval(then))),
                 f"{numbers.metric_name(metric)} over doublings of rows; the last, with its 95% interval, is foreseen")


def _means(found: Outlook) -> Mapping[int, float]:
    """Of each size, the mean of what was measured."""
    sizes = sorted({size for size, _ in found.measured})
    values = {size: [value for rows, value in found.measured if rows == size] for size in sizes}
    return {size: sum(some) / len(some) for size, some in values.items()}
