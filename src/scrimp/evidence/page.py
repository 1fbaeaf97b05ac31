"""The page of all claims: a forest plot a family, each effect with its interval as a share of what it is up against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from scrimp.core.workspace import atomic_write
from scrimp.evidence.results import Standing
from scrimp.evidence.verdicts import Finding
from scrimp.reports import charts
from scrimp.reports.charts import Chart, Dot
from scrimp.reports.page import templates

__all__ = ["forest", "render", "write"]

_MARKS: dict[str, charts.Kind] = {"holds": "adapted", "inconclusive": "control", "fails": "untouched"}
_FARTHEST = 2.0  # effects beyond twice the score that they are up against are drawn at the edge


def write(standings: Sequence[Standing], path: Path) -> None:
    """Render the claims to one HTML file that needs no network, atomically."""
    atomic_write(path, render(standings))


def render(standings: Sequence[Standing]) -> str:
    """The page as one string of HTML."""
    verdicts: list[str] = [standing.verdict or "not tried" for standing in standings]
    return templates().get_template("evidence.html").render(
        standings=standings, counts={name: verdicts.count(name) for name in (*_MARKS, "not tried")},
        stale=sum(standing.stale for standing in standings), hours=sum(one.seconds for one in standings) / 3600,
        forests=[forest(family, list(group)) for family, group in groupby(standings, key=lambda one: one.family)
                 if any(one.findings for one in standings if one.family == family)])


def forest(family: str, standings: Sequence[Standing]) -> Chart:
    """All effects of a family on one axis, with their intervals; right of the dashed line is the claim's side."""
    dots = [_dot(standing, finding) for standing in standings for finding in standing.findings]
    tally = ", ".join(f"{one.name} {one.verdict}" for one in standings if one.verdict)
    return charts.intervals(
        f"forest-{family}", family.capitalize(), f"{tally}.", dots,
        axis="effect as a share of the score it is up against", say=lambda value: f"{value:+.1%}", percent=True,
        reference=(0.0, "no effect"))


def _dot(standing: Standing, finding: Finding) -> Dot:
    unit = abs(finding.against) or max(abs(finding.low), abs(finding.high), 1e-12)
    value, low, high = (max(-_FARTHEST, min(_FARTHEST, part / unit))
                        for part in (finding.effect, finding.low, finding.high))
    return Dot(f"{standing.name} · {finding.inequality}", value, low, high, _MARKS[finding.verdict],
               chosen=finding.verdict == "holds")
