"""The page of a comparison: what the numbers speak for, the differences, the fronts, and what all of it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scrimp.core.workspace import atomic_write
from scrimp.planning.comparison import MEASURES, Arm, Comparison, Difference, Measure, interval
from scrimp.reports import bills, charts, numbers, plots
from scrimp.reports.charts import Chart, Dot
from scrimp.reports.page import templates
from scrimp.reports.plots import Way
from scrimp.reports.text import clip

__all__ = ["Row", "advice", "render", "rows", "write"]

_NAMES: dict[Measure, str] = {"retention": "what was forgotten", "time": "time", "memory": "peak memory",
                              "bytes": "bytes to ship"}


def write(found: Comparison, path: Path) -> None:
    """Render ``found`` to ``path``, atomically.

    Raises:
        WorkspaceError: if the file cannot be written.
    """
    atomic_write(path, render(found))


def render(found: Comparison) -> str:
    """The page as one string of HTML."""
    return templates().get_template("comparison.html").render(
        found=found, advice=found.advice or advice(found), rows=rows(found), settings=list(_settings(found)),
        score_chart=_score_chart(found), difference_chart=_difference_chart(found), pairs=list(_pairs(found)),
        fronts=list(_fronts(found)), whole=found.fronts["all"],
        measured=[_name(found, one) for one in _measures(found)],
        failed=[(arm.name, seed, told) for arm in found.arms for seed, told in arm.failed.items()],
        parts_chart=bills.parts_chart(found.parts, found.bill))


def advice(found: Comparison) -> str:
    """One sentence that follows from the numbers."""
    choice = found.choice
    best, advised = found.arm(choice.best), found.arm(choice.advised)
    metric, seeds = numbers.metric_name(found.metric), _seeds(len(best.trials))
    if not any(arm.trials for arm in found.arms if arm.recipe):
        return "None of the recipes finished a run, so nothing can be said of them: declare a longer --budget."
    if len(best.trials) < 2:
        return (f"No difference was shown: {metric} was highest with {best.name}, but one seed tells of no other; "
                "give more time.")
    if not choice.equals:
        return (f"Use {best.name}: its {metric} of {_quality(found, best)} is better than that of every other, by "
                f"{_over_next(found, best)}, over {seeds}; a run takes {_seconds(best)}.")
    others = _listed([name for name in (choice.best, *choice.equals) if name != choice.advised])
    if advised is best:
        return (f"Use {best.name}: no difference in {metric} from {others} was shown over {seeds}, and of these it is "
                f"the quickest, with {_seconds(best)} a run.")
    gap = found.difference(choice.best, choice.advised)
    told = f" ({_told(found, gap)} for {best.name}, the highest on average)" if gap else ""
    return (f"Use {advised.name}: no difference in {metric} from {others} was shown over {seeds}{told}, and a run "
            f"takes {_seconds(advised)} instead of {_seconds(best)}.")


def _over_next(found: Comparison, best: Arm) -> str:
    gaps = [gap for arm in found.arms if arm is not best and (gap := found.difference(best.name, arm.name)) is not None]
    if not gaps:
        return "nothing else to compare with"
    nearest = min(gaps, key=lambda gap: abs(gap.value))
    return f"{_told(found, nearest)} over {nearest.over}, the next"


def _told(found: Comparison, gap: Difference) -> str:
    """A difference as it is said: ``+3.1 points (+1.2 to +5.0)``."""
    unit, times = (" points", 100.0) if numbers.is_share(found.metric) else ("", 1.0)
    def said(value: float) -> str:
        return f"{times * value:+.1f}" if unit else numbers.change(value)
    ends = "" if gap.low is None or gap.high is None else f" ({said(gap.low)} to {said(gap.high)})"
    return f"{said(gap.value)}{unit}{ends}"


def _quality(found: Comparison, arm: Arm) -> str:
    return numbers.score(arm.mean("quality") or 0.0, found.metric)


def _seconds(arm: Arm) -> str:
    return numbers.duration(arm.mean("time") or 0.0)


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True)
class Row:
    """An arm in the table: its means as they are said; None of what was not measured."""

    arm: Arm
    quality: str | None
    retention: str | None
    time: str | None
    memory: str | None
    bytes: str | None
    on_front: bool


def rows(found: Comparison) -> list[Row]:
    """A row for each arm, the best first; those that finished no seed last."""
    sign = -1 if found.higher_is_better else 1
    ordered = sorted(found.arms, key=lambda arm: (not arm.trials, sign * (arm.mean("quality") or 0.0)))
    return [Row(arm, on_front=arm.name in found.fronts["all"],
                **{one: _cell(found, arm, one) for one in MEASURES}) for arm in ordered]


def _cell(found: Comparison, arm: Arm, measure: Measure) -> str | None:
    value = arm.mean(measure)
    return None if value is None or (measure == "retention" and not arm.trials) else _say(found, measure)(value)


def _say(found: Comparison, measure: Measure) -> Callable[[float], str]:
    def whole(value: float) -> str:
        return numbers.size(round(value))

    def quality(value: float) -> str:
        return numbers.score(value, found.metric)

    said: dict[Measure, Callable[[float], str]] = {
        "quality": quality, "retention": numbers.change, "time": numbers.duration, "memory": whole, "bytes": whole}
    return said[measure]


def _measures(found: Comparison) -> list[Measure]:
    return [one for one in MEASURES if one != "retention" or found.forgetting]


def _name(found: Comparison, measure: Measure) -> str:
    return numbers.metric_name(found.metric) if measure == "quality" else _NAMES[measure]


def _score_chart(found: Comparison) -> Chart | None:
    dots = []
    for row in rows(found):
        values = [trial.quality.value for trial in row.arm.trials]
        mean, between = row.arm.mean("quality"), interval(values)
        if mean is not None:
            low, high = between or (mean, mean)
            dots.append(Dot(f"{row.arm.name} · {row.arm.title}", mean, low, high, row.arm.kind,
                            row.arm.name == found.choice.advised))
    name, better = numbers.metric_name(found.metric), "" if found.higher_is_better else ", lower is better"
    return charts.intervals(
        "scores", "Means over seeds, with 95% intervals",
        f"{name} is highest on average with {found.choice.best}.", dots,
        axis=f"{name}{better}; the interval is of the seeds alone", say=_say(found, "quality"),
        percent=numbers.is_share(found.metric)) if dots else None


def _difference_chart(found: Comparison) -> Chart | None:
    best = found.choice.best
    dots = [Dot(f"{best} over {arm.name}", gap.value, gap.low, gap.high, arm.kind, gap.shown)
            for arm in found.arms if (gap := found.difference(best, arm.name)) and gap.low is not None
            and gap.high is not None]
    if not dots:
        return None
    name = numbers.metric_name(found.metric)
    shown = [dot.label for dot in dots if dot.chosen]
    return charts.intervals(
        "differences", f"By how much {clip(best, 40)} differs from the others", f"Shown: {_listed(shown)}." if shown
        else "No difference is shown.", dots, axis=f"difference in {name}, paired by seed",
        say=lambda value: f"{100 * value:+.1f} points" if numbers.is_share(found.metric) else numbers.change(value),
        percent=numbers.is_share(found.metric), reference=(0.0, "no difference"))


def _pairs(found: Comparison) -> Iterator[tuple[Difference, str]]:
    for gap in found.differences:
        if gap.measure == "quality":
            yield gap, _told(found, gap)


def _fronts(found: Comparison) -> Iterator[Chart]:
    """Quality against each other measure."""
    for measure in _measures(found)[1:]:
        best = found.fronts[measure]
        ways = [Way(arm.name, across, up, arm.kind, arm.name in best) for arm in found.arms
                if (across := arm.mean(measure)) is not None and (up := arm.mean("quality")) is not None]
        axis = _NAMES[measure]
        if measure == "retention" and found.forgetting:
            axis = f"change of {found.forgetting[0]}, {'higher' if found.forgetting[1] else 'lower'} is better"
        yield plots.front(
            f"front-{measure}", f"{numbers.metric_name(found.metric).capitalize()} and {_NAMES[measure]}",
            f"On the front: {_listed(list(best))}.", ways, axis=axis, side=numbers.metric_name(found.metric),
            across=_say(found, measure), up=_say(found, "quality"), percent=numbers.is_share(found.metric))


def _settings(found: Comparison) -> Iterator[tuple[Arm, list[tuple[str, str]]]]:
    """Of each arm that was searched, what was tried and what came of it."""
    for arm in found.arms:
        if arm.tried:
            yield arm, [(", ".join(f"{name} {value}" for name, value in one.point.items()) or "as the recipe says",
                         one.failed or _say(found, "quality")(one.score or 0.0)) for one in arm.tried]
