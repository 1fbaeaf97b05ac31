"""What work cost, as pages show it."""

from __future__ import annotations

from collections.abc import Mapping

from scrimp.core.budget import Bill
from scrimp.reports import charts, numbers
from scrimp.reports.charts import Bar, Chart

__all__ = ["parts_chart"]


def parts_chart(parts: Mapping[str, Bill], whole: Bill, *, limit: float | None = None) -> Chart | None:
    """Each part where it stands in the whole time, one after another; what no part accounts for comes last.

    Args:
        limit: the seconds that were allowed.
    """
    seconds = {name: bill.wall_s for name, bill in parts.items()}
    if not sum(seconds.values()):
        return None
    if (rest := whole.wall_s - sum(seconds.values())) > 0.01 * whole.wall_s:
        seconds["everything else"] = rest
    total = sum(seconds.values())
    widest, at, rows = max(total, limit or 0.0), 0.0, []
    for name, spent in seconds.items():
        said = f"{numbers.duration(spent)} · {numbers.share(spent, total)}"
        rows.append(Bar(name, at / widest, (at + spent) / widest, said))
        at += spent
    return charts.bars("parts", "Where the time went, first to last",
                       f"{len(rows)} parts take {numbers.duration(total)} in all.", rows, columns=("part", "time"),
                       limit=(limit / widest, f"limit {numbers.duration(limit)}") if limit else None)
