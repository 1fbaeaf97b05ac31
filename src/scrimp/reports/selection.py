"""The page of a selection: what was kept and what was dropped, and what that does to the pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scrimp.core.budget import Bill
from scrimp.core.workspace import atomic_write
from scrimp.data.selection.base import Selection
from scrimp.data.selection.survey import Survey
from scrimp.data.surveyed import Coverage, Group
from scrimp.examples.records import Examples
from scrimp.reports import bills, charts, numbers, plots, text
from scrimp.reports.charts import Bar, Chart
from scrimp.reports.page import templates
from scrimp.reports.plots import Place

__all__ = ["Record", "render", "write"]

_BARS, _GROUP_ROWS = 12, 150  # groups drawn, groups listed
_SPOTS_KEPT, _SPOTS_DROPPED, _SPOT_TEXT = 500, 1000, 400  # marks on the map, and characters that one may be cut from
_SAMPLES, _SAMPLE_BYTES = 3, 100_000  # of each kind, and what the texts of all may weigh
_ALIKE = 5  # groups of duplicates shown
_TAIL = 0.01  # of the lengths that share the last column


@dataclass(frozen=True)
class Record:
    """What the page is made of.

    Attributes:
        asked: the options of the request.
        found, seen: what the method chose, and what that did to the pool.
        bill, parts: what was spent until the page was written.
        learn: the command that learns from the rows that were kept.
    """

    method: str
    asked: Mapping[str, Any]
    pool: Examples
    found: Selection
    seen: Survey
    bill: Bill
    parts: Mapping[str, Bill]
    learn: str

    @property
    def kept(self) -> np.ndarray:
        """Whether each row was kept, bool [N]."""
        kept = np.zeros(len(self.pool), dtype=bool)
        kept[self.found.indices] = True
        return kept

    @property
    def scores(self) -> np.ndarray | None:
        """The scores where there are any: None if no row has one that is a number."""
        scores = None if self.found.scores is None else np.asarray(self.found.scores, dtype=np.float64)
        return None if scores is None or not np.isfinite(scores).any() else scores


def write(record: Record, path: Path) -> None:
    """Render to ``path``, atomically.

    Raises:
        WorkspaceError: if the file cannot be written.
    """
    atomic_write(path, render(record))


def render(record: Record) -> str:
    """The page as one string of HTML, under 3 MB for any pool."""
    pool, seen, found = record.pool, record.seen, record.found
    return templates().get_template("selection.html").render(
        record=record, seen=seen, why=found.why, headline=_headline(record), coverage=_covered(seen.coverage),
        group_chart=_group_chart(seen), score_chart=_score_chart(record), length_chart=_length_chart(record),
        map_chart=_map_chart(record), coverage_chart=_coverage_chart(seen), samples=list(_samples(record)),
        alike=[_alike(record, rows) for rows in seen.alike[:_ALIKE]], notes=pool.notes,
        parts_chart=bills.parts_chart(record.parts, record.bill))


def _headline(record: Record) -> tuple[str, str]:
    """What was kept, and what speaks for or against it."""
    kept, rows = len(record.found.indices), len(record.pool)
    parts = [f"{record.method} kept {numbers.share(kept, rows)} of the rows", *_covered(record.seen.coverage)]
    if again := record.seen.in_kept.exact + record.seen.in_kept.near:
        parts.append(f"{numbers.count(again)} of the kept rows repeat{'s' if again == 1 else ''} another")
    parts.append(f"all of it took {numbers.duration(record.bill.wall_s)}")
    return f"{numbers.count(kept)} of {numbers.count(rows)} rows:", "; ".join(parts) + "."


def _covered(found: Coverage | None) -> list[str]:
    if found is None:
        return []
    return [f"{found.kept:.0%} of the pool has a kept row as near as half of it has one of a choice by chance"]


def _group_chart(seen: Survey) -> Chart:
    """The share of each group that was kept, below that of all rows."""
    groups = seen.groups
    every = Group(name="all rows", pool=sum(one.pool for one in groups), kept=sum(one.kept for one in groups))
    most = max(_share(group) for group in groups)
    drawn = [_group_bar(group, most, strong=group is every) for group in (every, *groups[:_BARS])]
    rest = f"; {len(groups) - _BARS:,} smaller ones are not drawn" if len(groups) > _BARS else ""
    more = groups[_GROUP_ROWS:]
    others = Group(name=f"{len(more):,} more", pool=sum(one.pool for one in more), kept=sum(one.kept for one in more))
    table = [(text.clip(group.name, 40), numbers.count(group.pool), numbers.count(group.kept),
              numbers.count(group.pool - group.kept), numbers.share(group.kept, group.pool),
              numbers.share(group.kept, every.kept)) for group in (*groups[:_GROUP_ROWS], *([others] if more else []))]
    return charts.bars(
        "groups", f"How much was kept of each {seen.grouped_by}{rest}",
        f"{len(groups)} groups; of all rows {numbers.share(every.kept, every.pool)} were kept.", drawn, table=table,
        columns=(seen.grouped_by, "in the pool", "kept", "dropped", "kept of these", "share of all kept"))


def _group_bar(group: Group, most: float, *, strong: bool) -> Bar:
    """Its share, where the largest of all shares fills the width."""
    said = f"{numbers.count(group.kept)} of {numbers.count(group.pool)} · {numbers.share(group.kept, group.pool)}"
    return Bar(group.name, 0, _share(group) / most, said, strong=strong)


def _share(group: Group) -> float:
    return group.kept / group.pool


def _score_chart(record: Record) -> Chart | None:
    if record.scores is None:
        return None
    known = np.isfinite(record.scores)
    kept, dropped = record.scores[known & record.kept], record.scores[known & ~record.kept]
    return plots.histogram("scores", "Scores of kept and dropped rows", _medians(kept, dropped), kept, dropped,
                           axis="score, higher is better", say=numbers.decimal)


def _length_chart(record: Record) -> Chart:
    kept, dropped = record.seen.lengths[record.kept], record.seen.lengths[~record.kept]
    return plots.histogram("lengths", "Lengths of kept and dropped rows", _medians(kept, dropped), kept, dropped,
                           axis="characters of a row", say=lambda value: f"{value:,.0f}", tail=_TAIL)


def _medians(kept: np.ndarray, dropped: np.ndarray) -> str:
    told = [f"the median of {name} rows is {numbers.decimal(float(np.median(part)))}"
            for name, part in (("kept", kept), ("dropped", dropped)) if len(part)]
    return ", ".join(told).capitalize() + "."


def _coverage_chart(seen: Survey) -> Chart | None:
    if seen.coverage is None or seen.nearest is None:
        return None
    found = seen.coverage
    return plots.shares_within(
        "covered", "How near the pool is to a kept row",
        f"Within {numbers.decimal(found.radius)} of a kept row is {found.kept:.1%} of the pool.", seen.nearest.kept,
        seen.nearest.chance, axis=f"distance of {found.by} of length one", radius=found.radius)


def _map_chart(record: Record) -> Chart | None:
    if (found := record.seen.map) is None:
        return None
    kept, rng = record.kept[found.rows], np.random.default_rng(0)
    drawn = np.sort(np.concatenate([rng.permutation(np.flatnonzero(these))[:most] for these, most in (
        (kept, _SPOTS_KEPT), (~kept, _SPOTS_DROPPED))]))
    places = [Place(x, y, bool(kept[at]), _line(record.pool, int(found.rows[at])))
              for at in drawn.tolist() for x, y in [found.places[at].tolist()]]
    shares = " and ".join(f"{share:.0%}" for share in found.shares)
    some = "" if len(drawn) == len(record.pool) else (
        f"; drawn are {numbers.count(int(kept[drawn].sum()))} kept and {numbers.count(int((~kept[drawn]).sum()))} "
        f"dropped rows, by chance, of {numbers.count(len(record.pool))}")
    return plots.scatter(
        "map", "A map of the pool", f"{numbers.count(len(drawn))} rows, by their two main axes.", places,
        axis=f"the two main axes hold {shares} of what tells the rows apart{some}; point at a mark to read its row",
        columns=("part of the map", "rows dropped", "rows kept"), table=_ninths(found.places, kept))


def _ninths(places: np.ndarray, kept: np.ndarray) -> list[tuple[str, int, int]]:
    """Rows in each of nine equal parts of the map."""
    low, room = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1e-12)
    cells = np.minimum((3 * (places - low) / room).astype(int), 2)
    names = [(x, y, f"{down}, {across}") for y, down in ((2, "top"), (1, "middle"), (0, "bottom"))
             for x, across in enumerate(("left", "middle", "right"))]
    return [(name, int((inside & ~kept).sum()), int((inside & kept).sum()))
            for x, y, name in names for inside in [(cells == (x, y)).all(axis=1)]]


def _line(pool: Examples, row: int) -> str:
    """A row's beginning on one line, after its source."""
    told = " · ".join(value[:_SPOT_TEXT] for value in _texts(pool[row]).values())
    return f"{pool.sources[row]}: {told[:_SPOT_TEXT]}"


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a row as a person reads them."""
    return {name: value if isinstance(value, str) else "\n".join(f"{one['role']}: {one['content']}" for one in value)
            for name, value in row.items() if name != "tools"}


@dataclass(frozen=True)
class _Sample:
    """A row with what became of it: its rank if it was kept, and its score and the place of that among all scores."""

    source: str
    rank: int | None
    score: float | None
    place: int
    reason: str
    texts: dict[str, text.Clipped]


def _samples(record: Record) -> Iterator[tuple[str, list[_Sample]]]:
    """Kinds of rows, with a few of each: those at the top, on both sides of the border, and at the bottom."""
    kept, dropped = record.found.indices.tolist(), np.flatnonzero(~record.kept)
    kinds = [("The best that were kept", kept[:_SAMPLES]), ("The last that were kept", kept[_SAMPLES:][-_SAMPLES:])]
    if record.scores is None:
        kinds.append(("Dropped, drawn by chance", np.random.default_rng(0).permutation(dropped)[:_SAMPLES].tolist()))
    else:
        falling = dropped[np.argsort(-np.nan_to_num(record.scores[dropped], nan=-np.inf), kind="stable")].tolist()
        kinds += [("The best that were dropped", falling[:_SAMPLES]),
                  ("The worst that were dropped", falling[_SAMPLES:][-_SAMPLES:])]
    ranks = {row: rank for rank, row in enumerate(kept, 1)}
    most = _SAMPLE_BYTES // (6 * len(kinds) * _SAMPLES)
    for heading, rows in kinds:
        if rows:
            yield heading, [_sample(record, row, ranks.get(row), most) for row in rows]


def _sample(record: Record, row: int, rank: int | None, most_bytes: int) -> _Sample:
    scores, reasons = record.scores, record.found.reasons
    score = float(scores[row]) if scores is not None and np.isfinite(scores[row]) else None
    return _Sample(
        source=record.pool.sources[row], rank=rank, score=score,
        place=0 if scores is None or score is None else 1 + int((scores > score).sum()),
        reason=reasons[row] if reasons else "",
        texts={name: text.clipped(value, head=300, head_lines=8, most_bytes=most_bytes)
               for name, value in _texts(record.pool[row]).items()})


def _alike(record: Record, rows: Sequence[int]) -> tuple[str, int, int, str]:
    """A group of duplicates: its text, its rows, how many of them were kept, and where the first ones stand."""
    more = f" and {len(rows) - 3:,} more" if len(rows) > 3 else ""
    return (text.clip(next(iter(_texts(record.pool[rows[0]]).values()))[:_SPOT_TEXT], 160), len(rows),
            int(record.kept[rows].sum()), ", ".join(record.pool.sources[row] for row in rows[:3]) + more)
