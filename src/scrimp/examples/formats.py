"""Reading examples: from a file, a folder, a hub or Python to checked rows of one layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scrimp.core.errors import DataError, OptionError, nearest
from scrimp.core.workspace import fingerprint
from scrimp.examples import layouts
from scrimp.examples.badrows import BadRow, refuse, skipped
from scrimp.examples.layouts import Plan, Unusable
from scrimp.examples.readers import HUB, Raw, Table, from_hub, from_path, from_rows
from scrimp.examples.records import Examples, Layout

__all__ = ["read"]

_FIX = "correct them, or leave them out with on_bad_row='skip' (--on-bad-row skip)"
_MAP = "name the layout and its columns, such as layout='label', columns={'text': 'body', 'label': 'kind'}"
_LONG_NAME = 60


def read(source: str | Path | Iterable[Mapping[str, Any]], *, layout: Layout | str | None = None,
         columns: Mapping[str, str] | None = None, on_bad_row: Literal["fail", "skip"] = "fail",
         split: str | None = None, require_target: bool = True, report: Path | str | None = None,
         keep_found: bool = False, find_scores: bool = False) -> Examples:
    """Read examples and bring them to one layout.

    Args:
        source: a ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet`` file; a folder of text files or of folders
            named for labels; ``hub:owner/name`` or ``hub:owner/name:configuration``; or dicts.
        layout: None infers it from the names of the fields (`layouts.NAMES`) and says how in ``layout_reason``.
        columns: key of the layout -> name of the field, where the names tell nothing.
        on_bad_row: ``fail`` reports all bad rows at once; ``skip`` leaves them out and notes it.
        split: of hub data; None is ``train``.
        require_target: False for rows to predict on, which may lack label or completion.
        report: file for all bad rows. By default ``scrimp-bad-rows.txt`` in the current folder, only if there are more
            than the twenty that the message shows.
        keep_found: keep the fields of each row as they stand in the source too, in `Examples.found`.
        find_scores: whether of two fields one may be a number to learn (`layouts.guess_score`), and the field `labels`
            may hold several to learn (`layouts.guess_labels`); otherwise these are read as such if ``layout`` or
            ``columns`` say so.

    Raises:
        DataError: if the source cannot be read, has bad rows (``fail``), mixes layouts or has no usable row.
        OptionError: if an argument is not one of those above.
    """
    layout = _checked(layout, on_bad_row)
    if isinstance(source, Examples):
        source = source.rows
    table = _table(source, split)
    if not table.rows:
        raise DataError("holds no rows", where=table.name,
                        why="there is nothing below the header" if table.headed else "it is empty")
    raws = [row for row in table.rows if isinstance(row, Raw)]
    plans = _Plans(raws, table, layout, columns, require_target, find_scores)
    rows, used, bad = _sorted_out(table.rows, plans, require_target)
    if bad and (on_bad_row == "fail" or not rows):
        raise refuse(bad, len(table.rows), where=table.name, report=report, fix=_FIX)
    notes = [*table.notes, *plans.notes(), *_repeats(rows)] + ([skipped(bad, report)] if bad else [])
    return Examples(tuple(rows), plans.layout, tuple(raw.source for raw in used), plans.reason, tuple(notes),
                    tuple(raw.fields for raw in used) if keep_found else (), plans.parts)


def _checked(layout: Layout | str | None, on_bad_row: str) -> Layout | None:
    if on_bad_row not in ("fail", "skip"):
        raise OptionError(f"'{on_bad_row}' is neither fail nor skip", where="on_bad_row")
    if layout is not None and layout not in list(Layout):
        raise OptionError(f"there is no layout '{layout}'; {nearest(str(layout), list(Layout))}", where="layout")
    return None if layout is None else Layout(layout)


def _table(source: Any, split: str | None) -> Table:
    if isinstance(source, str) and source.startswith(HUB):
        return from_hub(source, split)
    if split is not None:
        raise OptionError("only hub data has splits", where="split", fix="leave it out")
    if isinstance(source, str | Path):
        return from_path(Path(source).expanduser())
    if isinstance(source, Iterable) and not isinstance(source, Mapping | bytes):
        return from_rows(list(source))
    raise OptionError(f"a {type(source).__name__} is no source of examples", where="source",
                      fix="give a file, a folder, hub:owner/name or a list of dicts")


def _sorted_out(found: Sequence[Raw | BadRow], plans: _Plans, require_target: bool) -> tuple[
        list[dict[str, Any]], list[Raw], list[BadRow]]:
    """Usable rows, these as they were found, and those that are not usable."""
    rows, used, bad = [], [], []
    for row in found:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            rows.append(layouts.made(row.fields, plans.of(row), require_target=require_target))
            used.append(row)
        except Unusable as error:
            bad.append(BadRow(row.source, str(error)))
    return rows, used, bad


def _repeats(rows: Sequence[dict[str, Any]]) -> list[str]:
    counts = Counter(map(fingerprint, rows))
    again = sum(count - 1 for count in counts.values())
    return [f"{again} row{'s repeat' if again > 1 else ' repeats'} another row exactly"] if again else []


@dataclass
class _Plans:
    """The plan of each row: all of one layout, though their fields may go by several names."""

    raws: Sequence[Raw]
    table: Table
    asked: Layout | None
    columns: Mapping[str, str] | None
    require_target: bool
    find_scores: bool

    def __post_init__(self) -> None:
        self._first: dict[tuple[str, ...], Raw] = {}
        for raw in self.raws:
            self._first.setdefault(tuple(raw.fields), raw)
        self._guessed = ""
        found = self._plan_by_values()
        self._plans = {names: found or self._plan(names) for names in self._first}
        if self._first and not any(self._plans.values()):
            self._settle_unknown()
        layouts_found = {plan.layout for plan in self._plans.values() if plan}
        if len(layouts_found) > 1:
            raise self._mixed()
        self.layout = next(iter(layouts_found), Layout.TEXT)

    def of(self, raw: Raw) -> Plan:
        """How that row is read.

        Raises:
            Unusable: if its fields do not have the layout of the others.
        """
        plan = self._plans[tuple(raw.fields)]
        if plan is None:
            raise Unusable(f"its fields ({', '.join(raw.fields) or 'none'}) make no {self.layout} row")
        return plan

    @property
    def reason(self) -> str:
        """How the layout was found, in words."""
        plan = next((plan for plan in self._plans.values() if plan), None)
        if self.table.reason:
            return f"{self.layout}: {self.table.reason}"
        how = "by the names of the fields"
        if self._guessed:
            how = f"guessed: {self._guessed}"
        elif self.asked or self.columns:
            how = "as asked for"
        return f"{plan.words if plan else self.layout} ({how})"

    @property
    def parts(self) -> dict[str, str]:
        """Which column plays which part, by the one plan of all rows; empty where there are several."""
        several = {tuple(plan.columns.items()) for plan in self._plans.values() if plan}
        return dict(several.pop()) if len(several) == 1 else {}

    def notes(self) -> list[str]:
        """The fields that are not used."""
        used = {column for plan in self._plans.values() if plan for column in plan.columns.values()}
        unused = list(dict.fromkeys(name for names in self._first for name in layouts.theirs(names)
                                    if name not in used))
        hint = "".join(f"; to learn the numbers of '{name}', name the layout 'score'" for name in self._scores(unused))
        more = " ..." if len(unused) > 10 else ""
        return [f"fields not used: {', '.join(unused[:10])}{more}{hint}"] if unused else []

    def _scores(self, unused: Sequence[str]) -> list[str]:
        """Fields of numbers that somebody may have meant to be learned, where nothing else is."""
        if not self.find_scores or self.asked or self.columns or self.layout is not Layout.TEXT:
            return []
        columns = {name: [raw.fields.get(name) for raw in self.raws] for name in unused
                   if layouts.planned(Layout.SCORE, ("text", name))}
        return [name for name, values in columns.items() if layouts.nearly_all(layouts.numbers(values), values)][:1]

    def _plan_by_values(self) -> Plan | None:
        """The plan of rows of a text and several labels, or a number, where such a one may be found."""
        if not self.find_scores or self.asked or self.columns or self.table.reason or not self.raws:
            return None
        fields = [raw.fields for raw in self.raws]
        if (plan := layouts.guess_labels(fields)) is not None:
            self._guessed = "the field of labels holds several"
            return plan
        plan = layouts.guess_score(fields)
        if plan is not None:
            self._guessed = "of two fields one is named like a score and holds numbers that are no classes"
        return plan

    def _plan(self, names: tuple[str, ...]) -> Plan | None:
        if self.columns:
            plan = layouts.given(self.columns, self.asked, require_target=self.require_target)
            needed = set(layouts.KEYS[plan.layout][0])
            return plan if all(column in names for key, column in plan.columns.items() if key in needed) else None
        if self.asked:
            return layouts.planned(self.asked, names, require_target=self.require_target, loose=True)
        return layouts.infer(names, require_target=self.require_target)

    def _settle_unknown(self) -> None:
        """No row's names tell the layout: guess it from the values of two columns, or say what to do.

        Raises:
            DataError: if that cannot be told either.
        """
        names = list(next(iter(self._first)))
        where = self.raws[0].source
        if self.columns:
            lacking = next((column for column in self.columns.values() if column not in names), names[0])
            raise DataError(f"there is no column '{lacking}'; {nearest(lacking, names)}", where=where)
        if self.table.headed and (hint := _data_like(names, self.raws)):
            raise DataError("the first line does not look like a header", where=f"{self.table.name}:1", why=hint,
                            fix="put the names of the columns, such as text,label, on the first line")
        plan = layouts.guess_two([raw.fields for raw in self.raws]) if self.asked in (None, Layout.LABEL) else None
        if plan is None:
            raise DataError(f"the fields ({', '.join(names)}) tell no {self.asked or 'layout that is known'}",
                            where=where, fix=_MAP)
        self._plans = {tuple(names): plan}
        self._guessed = "of two fields one is named like a label or has few distinct values"

    def _mixed(self) -> DataError:
        firsts: dict[Layout, str] = {}
        for names, plan in self._plans.items():
            if plan:
                firsts.setdefault(plan.layout, f"{self._first[names].source} is {plan.words}")
        return DataError("the rows have several layouts", where=self.table.name, why="; ".join(firsts.values()),
                         fix="put each layout into a file of its own, or name the one that is meant: layout='...'")


def _data_like(names: Sequence[str], raws: Sequence[Raw]) -> str | None:
    """Why these names, which tell no layout, are rather the cells of a first row; None if they may be names."""
    for name in names:
        if len(name) > _LONG_NAME or name.replace(".", "", 1).replace("-", "", 1).isdigit():
            return f"'{name[:_LONG_NAME]}' is no name of a column"
        if any(raw.fields.get(name) == name for raw in raws):
            return f"'{name}' stands again further down in its column"
    return None
