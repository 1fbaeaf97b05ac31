"""Mixing while a model is trained: the examples of each step, drawn from domains by weights that may follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from scrimp.core.errors import DataError, OptionError, nearest
from scrimp.core.registry import build, preset
from scrimp.data.mixing.base import Domains, Mixer
from scrimp.data.mixing.drawing import Drawing
from scrimp.tuning.sampling import Answer, Feed, Question, Sampling

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.examples.templates import Encoded

__all__ = ["Mixture", "domain_of", "gathered"]

Rows = dict[str, np.ndarray]  # name -> int64 [N], places of a domain's rows in what is trained on


class Mixture(Sampling):
    """Draw the examples of each step from several domains, in proportions that a method of mixing decides.

    Where the method follows the model's losses, some rows of each domain are kept back to measure them on. Where it
    follows gradients, rows are drawn for each look, and those of the target are never learned from.

    Attributes:
        domain: the field of the data that names each row's domain.
        domains: the domain of each row of the data, in the data's order, where no field says it; without both, all are
            of one.
        mixing: the method of mixing, by name.
        mixing_options: its own options.
        toward: the domain that others' gradients are compared with; it is not learned from.
        probes: rows of each domain at which the model is looked at.
    """

    domain: str | None = None
    domains: tuple[str, ...] = ()
    mixing: str = "proportional"
    mixing_options: dict[str, Any] = Field(default={})
    toward: str | None = None
    probes: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if self.domain is not None and self.domains:
            raise ValueError("the domains of rows are given by 'domain', a field, or by 'domains', not by both")
        return self

    @property
    def column(self) -> str | None:
        return self.domain

    def over(self, rows: Examples) -> Sampling:
        if self.domain is None:
            return self
        named = tuple(domain_of(row, self.domain, where) for row, where in zip(rows.found, rows.sources, strict=True))
        return self.model_copy(update={"domains": named})

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        method: Mixer = build("mixing", self.mixing, self.mixing_options, where="mixing_options")
        found = self._by_domain(rows)
        if self.toward is not None and self.toward not in found:
            raise OptionError(f"there is no domain '{self.toward}'; {nearest(self.toward, found)}", where="toward")
        if method.sees == "alignment" and self.toward is None:
            raise OptionError(f"'{self.mixing}' compares gradients with those of a target", where="toward",
                              fix=f"name the domain that holds its rows: {', '.join(found)}")
        probes = {name: self._probes(name, places, seed) for name, places in found.items()} \
            if method.sees == "losses" else found
        learned = {name: np.setdiff1d(places, probes[name]) if method.sees == "losses" else places
                   for name, places in found.items() if name != self.toward}
        return _Mixed(method, learned, probes, toward=self.toward, probed=self.probes, batch_size=batch_size, seed=seed)

    def _by_domain(self, rows: Sequence[Encoded]) -> Rows:
        if self.domain is not None and not self.domains:
            raise OptionError(f"rows that are tokens already have no field '{self.domain}'", where="domain",
                              fix="give 'domains', the domain of each row")
        if self.domains and (last := max(row.row for row in rows)) >= len(self.domains):
            raise OptionError(f"row {last} of the data has no domain", where="domains",
                              why=f"{len(self.domains)} are given", fix="give one for each row of the data")
        found: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            found.setdefault(self.domains[row.row] if self.domains else "all", []).append(place)
        return {name: np.array(places) for name, places in found.items()}

    def _probes(self, name: str, places: np.ndarray, seed: int) -> np.ndarray:
        """Rows of a domain that are kept back, at most half of those that there are to learn from."""
        most = len(places) if name == self.toward else len(places) // 2
        if not most:
            raise DataError(f"the domain '{name}' has one row, and none to measure its loss on", where="domains",
                            fix="give it more rows, or leave it out")
        return np.random.default_rng(seed).permutation(places)[:min(self.probes, most)]


class _Mixed(Feed):
    """Draws as a mixer weighs, which it tells what the model showed."""

    def __init__(self, method: Mixer, learned: Rows, probes: Rows, *, toward: str | None, probed: int, batch_size: int,
                 seed: int) -> None:
        sizes = {name: len(places) for name, places in learned.items()}
        super().__init__(-(-sum(sizes.values()) // batch_size))
        self._method, self._learned, self._probes, self._toward = method, learned, probes, toward
        self._probed, self._batch_size, self._seed = probed, batch_size, seed
        self._drawing = Drawing(sizes, seed)
        self._looks: tuple[dict[str, float], ...] = ()
        self._step, self._chosen = -1, list[int]()

    def ask(self, step: int) -> Question | None:
        if not self._method.looks_at(step, self.planned):
            return None
        if self._method.sees == "losses":
            return Question({name: places.tolist() for name, places in self._probes.items()})
        chance = np.random.default_rng([self._seed, step])
        return Question({name: chance.permutation(places)[:self._probed].tolist()
                         for name, places in self._probes.items()}, gradients=True)

    def told(self, step: int, answer: Answer) -> None:
        if self._method.sees == "losses":
            look = dict(answer.means)
        else:
            assert self._toward is not None
            own = max(answer.products[self._toward, self._toward], np.finfo(np.float64).tiny)
            look = {name: answer.products[name, self._toward] / own for name in answer.means}
        self._looks = (*self._looks, look)

    def indices(self, step: int) -> list[int]:
        if step != self._step:
            known = Domains(self._drawing.sizes, self.planned, self.planned * self._batch_size, self._looks)
            weights = self._method.weights(step, signals=known)
            drawn = (self._drawing.next(weights) for _ in range(self._batch_size))
            self._step, self._chosen = step, [int(self._learned[name][row]) for name, row in drawn]
        return self._chosen

    def state(self) -> dict[str, torch.Tensor]:
        return {"owed": torch.tensor([self._drawing.owed[name] for name in self._learned], dtype=torch.float64),
                "drawn": torch.tensor([self._drawing.drawn[name] for name in self._learned]),
                "looks": torch.tensor([[look[name] for name in self._probes] for look in self._looks],
                                      dtype=torch.float64).reshape(-1, len(self._probes))}

    def adopt(self, state: Mapping[str, torch.Tensor]) -> None:
        owed, drawn = (dict(zip(self._learned, state[part].tolist(), strict=True)) for part in ("owed", "drawn"))
        self._drawing = Drawing(self._drawing.sizes, self._seed, owed, drawn)
        self._looks = tuple(dict(zip(self._probes, row, strict=True)) for row in state["looks"].tolist())
        self._step = -1


def domain_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """What a row's field says of its domain.

    Raises:
        DataError: there is no such field, with the nearest one.
    """
    if column not in row:
        raise DataError(f"there is no column '{column}'; {nearest(column, row)}", where=where)
    return str(row[column])


def gathered(parts: Mapping[str, Sequence[Encoded]]) -> tuple[list[Encoded], tuple[str, ...]]:
    """The rows of several domains as one data set, numbered anew, and the domain of each for `Mixture.domains`."""
    named = [(name, row) for name, rows in parts.items() for row in rows]
    return [replace(row, row=number) for number, (_, row) in enumerate(named)], tuple(name for name, _ in named)


preset("mixture", Mixture)
