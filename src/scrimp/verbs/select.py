"""Which rows to learn from: `select`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from scrimp.core.budget import Bill, Meter
from scrimp.core.errors import OptionError
from scrimp.core.options import Options
from scrimp.core.progress import say
from scrimp.core.registry import build
from scrimp.core.workspace import Workspace
from scrimp.data.surveyed import Coverage, Group, Lengths, Repeats
from scrimp.examples.records import Examples
from scrimp.recipes.fields import Seed, Selecting, Source, count_of
from scrimp.verbs.base import Workspaced
from scrimp.verbs.rows import Rewriting

if TYPE_CHECKING:
    from scrimp.data.selection import Selection, Selector
    from scrimp.signals import Signals

__all__ = ["Select", "Selected"]

_NO_PAGE = "none"


class Selected(Options):
    """What was kept of how many rows, where it is, and what that did to the pool.

    Attributes:
        out, page: the rows and the page; no page where none was asked for.
        why: in the method's words.
        reading: ``layout`` or ``columns`` to give with the rows, where the names of their fields alone do not tell.
        grouped_by, groups: what was kept of each label, or of each source of rows without labels.
        in_pool, in_kept: rows that repeat others; None without a page, for which alone they are looked for, and so are
            the lengths and the coverage.
        coverage: how much of the pool has a kept row near by; None where that was not measured.
        bill, parts: the cost of all, and of each part.
    """

    out: Path
    page: Path | None
    kept: int
    of: int
    why: str
    reading: dict[str, Any]
    grouped_by: str = ""
    groups: tuple[Group, ...] = ()
    in_pool: Repeats | None = None
    in_kept: Repeats | None = None
    lengths: Lengths | None = None
    coverage: Coverage | None = None
    bill: Bill
    parts: dict[str, Bill]

    @property
    def learn(self) -> str:
        """The command that learns from the rows."""
        columns = ",".join(f"{key}={name}" for key, name in self.reading.get("columns", {}).items())
        given = {"layout": self.reading.get("layout"), "columns": columns or None}
        words = ["scrimp", "fit", str(self.out), *(word for name, value in given.items() if value
                                                   for word in (f"--{name}", value)), "--out", "run"]
        return shlex.join(words)


class Select(Rewriting, Selecting, Workspaced):
    """Keep the rows of a pool that are worth learning from, by a method of your choice.

    Leaves a file with the rows that were kept, the best first, and all their fields. To each are added scrimp_rank (1
    is the best), scrimp_score (where the method scores rows; higher is better) and scrimp_reason; `fit` and `tune`
    learn from the file as from the pool.

    Leaves a page beside it too: what was kept and dropped with samples, a map of the pool, scores, lengths, duplicates,
    how well the kept rows cover the others, and what all of it cost.

    Every option that is not listed here is an option of the method; `scrimp methods selection` lists what there is.
    """

    rest = "options"
    examples = (
        "scrimp select pool.jsonl --method k-center --keep 5% --out chosen.jsonl",
        "scrimp select pool.csv --method random --keep 100 --balanced --out chosen.csv",
        "scrimp select pool.parquet --keep 1000 --out chosen.parquet --engine ray",
    )

    data: Source = Field(description="The pool: a file, a folder of texts, hub:name, or in Python the rows themselves.")
    page: Annotated[str | None, BeforeValidator(lambda given: None if given is None else str(given))] = Field(
        None, description="HTML file for the page; without it, OUT with the ending .html. 'none' leaves it out, and "
                          "what it costs.")
    encoder: str = Field("minilm", description="The sentence encoder of the methods that compare rows.")
    model: str = Field("smollm2-135m", description="The language model of the methods that ask one.")
    engine: Literal["local", "ray"] = Field(
        "local", description="Where models look at rows: in this process, or by Ray's actors.")
    address: str | None = Field(None, description="Of a Ray cluster: host:port; without one, this machine.")
    workers: int | None = Field(None, ge=1, description="Ray's actors; without a number, one for each processor.")
    seed: Seed = Field(0, description="Of every random choice.")

    def do(self) -> Selected:
        from scrimp.examples.writing import check
        from scrimp.signals import Signals
        from scrimp.signals.engines import engine_named

        check(self.out)
        page, meter, parts = self._page(), Meter(), dict[str, Bill]()
        method = build("selection", self.method, self.options, where="scrimp select")
        with _part("reading the rows", meter, parts):
            pool = self._told(self.data)
            target = self._told(self.target) if self.target is not None else None
            check(self.out, pool.found)
        keep = count_of(self.keep, len(pool))
        engine = engine_named(self.engine, address=self.address, workers=self.workers)
        signals = Signals(self.encoder, model=self.model, workspace=Workspace(self.workspace), meter=meter,
                          engine=engine)
        with _part("choosing", meter, parts):
            found = self._chosen(method, pool, keep, signals, target).checked(pool, keep, by=self.method)
        with _part("writing the rows", meter, parts):
            reading = self._write(pool.subset(found.indices.tolist()), _added(pool, found))
        made = Selected(out=self.out, page=page, kept=keep, of=len(pool), why=found.why, reading=reading,
                        bill=meter.bill(), parts=parts)
        made = self._shown(made, page, pool, found, signals, meter) if page else made
        return made.model_copy(update={"bill": meter.close()})

    def _page(self) -> Path | None:
        page = self.out.with_suffix(".html") if self.page is None else Path(self.page)
        if page == self.out:
            raise OptionError("the page and the rows are the same file", where="page", fix="name another file")
        return None if self.page == _NO_PAGE else page

    def _told(self, source: Any) -> Examples:
        examples = self._read(source)
        for note in examples.notes:
            say(note)
        return examples

    def _chosen(self, method: Selector, pool: Examples, keep: int, signals: Signals,
                target: Examples | None) -> Selection:
        from scrimp.data.selection.balance import within_labels

        if self.balanced:
            return within_labels(method, pool, keep, signals=signals, target=target, seed=self.seed)
        return method.select(pool, keep, signals=signals, target=target, seed=self.seed)

    def _shown(self, made: Selected, path: Path, pool: Examples, found: Selection, signals: Signals,
               meter: Meter) -> Selected:
        """Look at what was kept, write the page, and add what was seen."""
        from scrimp.data.selection.survey import survey
        from scrimp.reports import selection

        parts = dict(made.parts)
        with _part("looking at what was kept, for this page", meter, parts):
            seen = survey(pool, found.indices, vectors=signals.known_embeddings(pool), seed=self.seed)
        selection.write(selection.Record(
            method=self.method, asked=self._asked(), pool=pool, found=found, seen=seen, bill=meter.bill(), parts=parts,
            learn=made.learn), path)
        return made.model_copy(update={
            "grouped_by": seen.grouped_by, "groups": seen.groups, "in_pool": seen.in_pool, "in_kept": seen.in_kept,
            "lengths": seen.median_lengths, "coverage": seen.coverage, "parts": parts})

    def _asked(self) -> dict[str, Any]:
        """The options of this request; rows that were given themselves are only counted."""
        given = self.model_dump(mode="json", exclude={"options", "workspace", "page"}, exclude_none=True)
        return {name: f"{len(value)} rows" if isinstance(value, list) else value
                for name, value in {**given, **self.options}.items()}


@contextmanager
def _part(name: str, meter: Meter, parts: dict[str, Bill]) -> Iterator[None]:
    """Bill the block as a part of its own."""
    with meter.part() as part:
        yield
    parts[name] = part.bill()


def _added(pool: Examples, found: Selection) -> list[dict[str, Any]]:
    """Rank, score and reason of each kept row, under names that no row of the pool has."""
    names = _free_names({name for row in pool.found for name in row})
    return [{names["rank"]: rank,
             **({names["score"]: _finite(found.scores[row])} if found.scores is not None else {}),
             names["reason"]: (found.reasons[row] if found.reasons else "") or found.why}
            for rank, row in enumerate(found.indices.tolist(), 1)]


def _free_names(taken: set[str]) -> dict[str, str]:
    """``scrimp_rank`` and so on; ``scrimp_rank_2`` where the rows were selected before."""
    from scrimp.examples.layouts import ADDED

    ends = ("", *(f"_{n}" for n in range(2, len(taken) + 3)))
    ways = ({part: f"{ADDED}{part}{end}" for part in ("rank", "score", "reason")} for end in ends)
    return next(names for names in ways if taken.isdisjoint(names.values()))


def _finite(score: float) -> float | None:
    return float(score) if math.isfinite(score) else None
