"""Rows of several domains, drawn one after another so that each domain has its share of them at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from scrimp.data.mixing.base import Domains, Mixer, Weights

__all__ = ["Drawing", "drawn_rows"]


@dataclass
class Drawing:
    """Draws rows; what it holds is all that a continuation needs.

    The next row is of the domain that is owed most; within a domain all rows come once, in an order by chance, before
    one comes again.

    Attributes:
        sizes: name -> rows that there are.
        seed: of the orders.
        owed: name -> rows that it should have had by its weights until now, less those that it had.
        drawn: name -> rows that it had.
    """

    sizes: Mapping[str, int]
    seed: int
    owed: dict[str, float] = field(default_factory=dict)
    drawn: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.owed = dict.fromkeys(self.sizes, 0.0) | self.owed
        self.drawn = dict.fromkeys(self.sizes, 0) | self.drawn
        self._orders: dict[str, tuple[int, np.ndarray]] = {}

    def next(self, weights: Weights) -> tuple[str, int]:
        """The next row: its domain, and its number within it."""
        for name, weight in weights.items():
            self.owed[name] += weight
        chosen = max((name for name, weight in weights.items() if weight > 0), key=self.owed.__getitem__)
        self.owed[chosen] -= 1
        turn, place = divmod(self.drawn[chosen], self.sizes[chosen])
        self.drawn[chosen] += 1
        return chosen, int(self._order(chosen, turn)[place])

    def _order(self, name: str, turn: int) -> np.ndarray:
        if name not in self._orders or self._orders[name][0] != turn:
            chance = np.random.default_rng([self.seed, list(self.sizes).index(name), turn])
            self._orders[name] = turn, chance.permutation(self.sizes[name])
        return self._orders[name][1]


def drawn_rows(method: Mixer, domains: Domains, *, seed: int = 0) -> list[tuple[str, int]]:
    """All rows of a run in the order in which they are learned: their domain, and their number within it."""
    drawing, per_step = Drawing(domains.sizes, seed), np.diff(np.linspace(0, domains.rows, domains.steps + 1).round())
    weighed = ((method.weights(step, signals=domains), int(count)) for step, count in enumerate(per_step))
    return [drawing.next(weights) for weights, count in weighed for _ in range(count)]
