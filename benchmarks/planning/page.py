"""What was measured of budgets and forecasts, as the part of the documentation's page on benchmarks that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.planning.budgets import RESULTS, SHORT_S, runs

__all__ = ["errors", "page"]

_INTRODUCTION = """# Budgets, kept and foreseen

Written by `python -m benchmarks.planning.budgets` and `python -m benchmarks.page`. Each run is `scrimp fit` on a task
of [few rows](low-data.md) that its number draws, with so many rows and such a budget as the number draws too, in a
process of its own that is timed from outside, from before it is started. A budget is kept if it is exceeded by no more
than 5 % or 3 seconds, whichever is more. What is left is of use if `scrimp predict` answers rows with it."""
_UNITS = {"wall_s": "seconds", "peak_memory": "highest memory"}


def page() -> str:
    """Markdown; empty before anything is measured."""
    found = list(runs(RESULTS).values())
    if not found:
        return ""
    machines = sorted({f"{one['processor']}, {one['threads']} thread{'s' * (one['threads'] != 1)}, scrimp at "
                       f"{one['revision']}" for one in found})
    return "\n\n".join([_INTRODUCTION, *kept(found), *foreseen(found), f"Machine: {'; '.join(machines)}."]) + "\n"


def kept(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which budgets were kept."""
    short = [one for one in found if one["seconds"] <= SHORT_S[1]]
    parts = {f"{SHORT_S[0]:g} to {SHORT_S[1]:g} s": short, "longer": [one for one in found if one not in short]}
    rows = ["| budgets | runs | kept | of use | beyond the budget, at most | of the budget spent, median |",
            "|---|--:|--:|--:|--:|--:|"]
    for name, some in {**parts, "all": found}.items():
        if some:
            beyond = max(one["took"] - one["seconds"] for one in some)
            spent = np.median([one["took"] / one["seconds"] for one in some])
            rows.append(f"| {name} | {len(some)} | {sum(one['kept'] for one in some)} "
                        f"| {sum(one['of_use'] for one in some)} | {max(beyond, 0.0):.1f} s | {spent:.0%} |")
    lost = [f"{one['task']} with {one['count']}, {one['took']:.1f} of {one['seconds']:g} s" for one in found
            if not (one["kept"] and one["of_use"])]
    return ["\n".join(rows), f"Not kept, or of no use: {'; '.join(lost) or 'none'}."]


def foreseen(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far forecasts were off."""
    rows = ["| what | of | forecasts | error, median | error, nine of ten below | took less than foreseen |",
            "|---|---|--:|--:|--:|--:|"]
    for of in ("ways", "whole"):
        for what, unit in _UNITS.items():
            if off := list(errors(found, of, what)):
                size = np.abs(off)
                rows.append(f"| {unit} | {'a way' if of == 'ways' else 'a run'} | {len(off)} | {np.median(size):.1%} "
                            f"| {np.quantile(size, 0.9):.1%} | {np.mean(np.array(off) > 0):.0%} |")
    return ["What was foreseen before the first way of a kind was tried, beside what was spent; the error is the "
            "difference over what was spent.", "\n".join(rows)]


def errors(found: Sequence[Mapping[str, Any]], of: str, what: str) -> Iterator[float]:
    """(foreseen - spent) / spent, of what was foreseen at all."""
    for one in found:
        pairs = one.get("ways", {}).values() if of == "ways" else [one["whole"]] if "whole" in one else []
        for pair in pairs:
            if (pair["foreseen"] or {}).get(what):
                yield pair["foreseen"][what] / pair["spent"][what] - 1
