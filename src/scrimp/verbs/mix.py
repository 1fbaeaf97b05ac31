"""Rows of several domains in one file, in proportions of your choice: `mix`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from scrimp.core.budget import Bill, Meter
from scrimp.core.errors import DataError, OptionError
from scrimp.core.options import Options
from scrimp.core.registry import build
from scrimp.recipes.fields import Domains, Mixing, Reading, Seed
from scrimp.verbs.base import Verb

__all__ = ["Mix", "Mixed", "Part"]

_STEPS = 1000  #: a schedule's stages begin at one of so many places in the file


class Part(Options):
    """A domain in a mix: how many rows were drawn from how many, and what share of the mix they are.

    More rows than there are means that rows repeat: all came before one came again.
    """

    domain: str
    rows: int
    of: int
    share: float


class Mixed(Options):
    """What came of which domain, where it is, and what that cost."""

    out: Path
    rows: int
    parts: tuple[Part, ...]
    bill: Bill


class Mix(Verb, Mixing, Reading):
    """Mix rows of several domains in given proportions.

    A domain is a source, or what a column says. Leaves a file with the rows as they were found, in the order of the
    method's schedule; `scrimp methods mixing` lists the methods. Every option that is not listed here is an option of
    the method.
    """

    positional = ("data",)
    rest = "options"
    examples = (
        "scrimp mix web.jsonl,law.jsonl --method temperature --out mix.jsonl",
        "scrimp mix web.jsonl,law=acts.csv --method dmt --favoured law --out mix.jsonl",
        "scrimp mix pool.csv --domain source --size 5% --out mix.csv",
    )

    data: Domains = Field(description=(
        "The domains: files, folders or hub:names with commas between them, each with its name before it or named for "
        "itself: web.jsonl,law=acts.jsonl. Or one source and the column that holds the domain."))
    out: Path = Field(description="File to write: .jsonl, .json, .csv, .tsv or .parquet, with the fields as they were.")
    seed: Seed = Field(0, description="Of every random choice.")

    def do(self) -> Mixed:
        from scrimp.data.mixing import Domains, drawn_rows
        from scrimp.examples.writing import check, write

        check(self.out)
        method, meter = build("mixing", self.method, self.options, where="scrimp mix"), Meter()
        if method.sees:
            raise OptionError(f"'{self.method}' follows a model while it is trained, and a file is written before that",
                              where="method", fix="choose a method that looks at no model, such as temperature")
        found = self._domains()
        sizes = {name: len(rows) for name, rows in found.items()}
        size = self.size if isinstance(self.size, int) else max(1, round(self.size * sum(sizes.values())))
        drawn = drawn_rows(method, Domains(sizes, steps=min(size, _STEPS), rows=size), seed=self.seed)
        write(self.out, [found[name][row] for name, row in drawn])
        had = Counter(name for name, _ in drawn)
        parts = tuple(Part(domain=name, rows=had[name], of=sizes[name], share=had[name] / size) for name in sizes)
        return Mixed(out=self.out, rows=size, parts=parts, bill=meter.close())

    def _domains(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each domain, their fields as they were found."""
        from scrimp.data.mixing import domain_of
        from scrimp.examples.formats import read

        found: dict[str, list[dict[str, Any]]] = {}
        layouts = {}
        for name, source in self.data.items():
            rows = read(source, layout=self.layout, columns=self.columns, on_bad_row=self.on_bad_row, keep_found=True)
            layouts[rows.layout] = name
            for row, where in zip(rows.found, rows.sources, strict=True):
                found.setdefault(name if self.domain is None else domain_of(row, self.domain, where), []).append(row)
        if len(layouts) > 1:
            raise DataError("the sources have several layouts", why=", ".join(f"{n}: {v}" for v, n in layouts.items()),
                            fix="name the one that is meant: --layout")
        if len(found) == 1:
            raise DataError(f"there is one domain, '{next(iter(found))}', and nothing to mix it with",
                            fix="give several sources, or the column that names the domains: --domain")
        return found
