"""Mosaics: several instructions in one, from those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from scrimp.core.registry import Cost, preset
from scrimp.data.synthesis.base import LanguageModel, Writer, require
from scrimp.examples.records import Examples, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Mosaic"]

Kind = Literal["plain", "format", "permute", "maskout"]
_BRACKETS = (("[", "]"), ("<", ">"), ("(", ")"), ("{", "}"), ("<<", ">>"), ("##", "##"))


class Mosaic(Writer):
    """Join several instructions to one that asks for all their answers; nothing is written that was not there.

    Each new example numbers k of the seeds, k drawn from 1 to ``most``, and asks in one of these ways: for all answers
    in turn (plain), between given brackets (format), in a given order (permute), or without some of them (maskout). So
    a model sees k answers an update, and learns to follow what is said about the instructions. All seeds are used
    equally often. Li et al. 2024, "Mosaic IT: Enhancing Instruction Tuning with Data Mosaics".

    Attributes:
        most: instructions in one example.
        kinds: ways to ask, drawn equally often.
    """

    most: int = Field(default=10, ge=1)
    kinds: tuple[Kind, ...] = Field(default=("plain", "format", "permute", "maskout"), min_length=1)

    def write(self, seeds: Examples, count: int, *, llm: LanguageModel | None = None, seed: int = 0) -> Examples:
        require(seeds, Layout.PROMPT)
        rng = np.random.default_rng(seed)
        stream, made, sources = _in_turn(len(seeds), rng), [], []
        for _ in range(count):
            wanted = int(rng.integers(1, min(self.most, len(seeds)) + 1))
            rows = _distinct(stream, wanted)
            items = [(str(seeds[i]["prompt"]), str(seeds[i]["completion"])) for i in rows]
            kind = self.kinds[int(rng.integers(len(self.kinds)))]
            made.append(joined(items, kind, rng))
            sources.append("+".join(seeds.sources[i] for i in rows))
        return Examples(tuple(made), Layout.PROMPT, tuple(sources), f"mosaics of up to {self.most} rows")

    def cost(self) -> Cost:
        return Cost(calls=0)


def joined(items: list[tuple[str, str]], kind: Kind, rng: np.random.Generator) -> dict[str, str]:
    """One example from (prompt, completion) pairs; a single one is left as it is, unless brackets are asked for."""
    if len(items) == 1 and kind != "format":
        return {"prompt": items[0][0], "completion": items[0][1]}
    order, ask, begin, end = list(range(len(items))), "Answer all of these, each with its number.", "", ""
    if kind == "format":
        begin, end = _BRACKETS[int(rng.integers(len(_BRACKETS)))]
        ask = f"Answer all of these, each with its number, the answer between {begin} and {end}."
    elif kind == "permute":
        order = rng.permutation(len(items)).tolist()
        ask = f"Answer these, each with its number, in the order {_numbers(order)}."
    elif kind == "maskout":
        left_out = sorted(rng.permutation(len(items))[:int(rng.integers(1, len(items)))].tolist())
        order = [i for i in order if i not in left_out]
        ask = f"Answer these, each with its number, but leave out {_numbers(left_out)}."
    prompt = "\n".join([ask, *(f"{n}. {prompt}" for n, (prompt, _) in enumerate(items, 1))])
    return {"prompt": prompt, "completion": "\n".join(f"{i + 1}. {begin}{items[i][1]}{end}" for i in order)}


def _numbers(places: list[int]) -> str:
    return ", ".join(str(i + 1) for i in places)


def _in_turn(count: int, rng: np.random.Generator) -> Iterator[int]:
    """All rows in an order by chance, again and again."""
    while True:
        yield from rng.permutation(count).tolist()


def _distinct(stream: Iterator[int], wanted: int) -> list[int]:
    """The next ``wanted`` different rows; one that comes again too soon, at the turn of two orders, is passed over."""
    found: list[int] = []
    while len(found) < wanted:
        row = next(stream)
        if row not in found:
            found.append(row)
    return found


preset("mosaic", Mosaic, papers=(282,))
