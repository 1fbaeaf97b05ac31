"""What the cells say: curves over total cost, and where an arm is ahead of controls that cost as much.

At a total cost ``x`` a control is worth what its curve, linear in ``log x``, is there, or what it was at any size that
cost less: one could have stopped. Of several controls the one counts that is best on average over the seeds. The
difference of an arm from it is paired by seed, and has Student's 95 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.leads import Lead
from scrimp.evaluation.statistics import t_interval

__all__ = ["AMORTISED", "Curve", "Standing", "curves", "cheapest", "standings", "whole_cost"]

AMORTISED = (1, 2, 4, 8, 16, 32, 64, math.inf)  #: trainings that share the bill of one selection


@dataclass(frozen=True)
class Curve:
    """An arm on a pool; arrays are float64 [seeds, sizes].

    Attributes:
        sizes: rows of an epoch.
        quality: the higher the better.
        training, selecting: operations.
        good: the share of what was kept that the oracle would keep first.
        seconds: of the processor, for selecting; the median over seeds.
    """

    sizes: tuple[int, ...]
    quality: np.ndarray
    training: np.ndarray
    selecting: np.ndarray
    good: np.ndarray
    seconds: float

    def total(self, uses: float = 1) -> np.ndarray:
        """Operations of one training and its share of a selection that ``uses`` of them use."""
        return self.training + self.selecting / uses


@dataclass(frozen=True, kw_only=True)
class Standing(Lead):
    """How far an arm of one size is ahead of controls at the same cost, with its interval."""

    size: int
    cost: float


def curves(found: Mapping[str, Any], pool: str, better: str) -> dict[str, Curve]:
    """All arms of a pool, under the seeds with which all of them were measured; none if these are fewer than two."""
    cells: dict[str, dict[int, dict[int, Mapping[str, float]]]] = {}
    for name, cell in found["cells"].items():
        of, arm, seed, size = name.split("/")
        if of == pool:
            cells.setdefault(arm, {}).setdefault(int(size), {})[int(seed)] = cell
    measured = [set(by_seed) for by_size in cells.values() for by_seed in by_size.values()]
    seeds = sorted(set.intersection(*measured)) if measured else []
    if len(seeds) < 2:
        return {}
    return {arm: _curve(by_size, seeds, better) for arm, by_size in sorted(cells.items())}


def _curve(cells: Mapping[int, Mapping[int, Mapping[str, float]]], seeds: Sequence[int], better: str) -> Curve:
    sizes = tuple(sorted(cells))

    def of(name: str) -> np.ndarray:
        return np.array([[cells[size][seed].get(name, 0.0) for size in sizes] for seed in seeds], dtype=np.float64)

    return Curve(sizes, of("quality") * (1 if better == "higher" else -1), of("training"), of("selecting"), of("good"),
                 float(np.median(of("selecting_s"))))


def whole_cost(found: Mapping[str, Curve]) -> float:
    """Operations of learning from the whole pool: the unit in which costs can be compared across models."""
    chance = found["random"]
    return float((chance.training / np.array(chance.sizes)).mean() * max(chance.sizes))


def standings(found: Mapping[str, Curve], arm: str, against: Sequence[str], *, uses: float = 1) -> list[Standing]:
    """Of an arm at each of its sizes, against the best of the controls ``against``."""
    own, told = found[arm], list[Standing]()
    controls = [found[name] for name in against if name in found and name != arm]
    for at, size in enumerate(own.sizes):
        cost = own.total(uses)[:, at]
        ahead = own.quality[:, at] - worth(controls, cost, uses)
        low, high = t_interval(ahead.tolist())
        told.append(Standing(size=size, cost=float(cost.mean()), ahead=float(ahead.mean()), low=low, high=high))
    return told


def worth(controls: Sequence[Curve], cost: np.ndarray, uses: float = 1) -> np.ndarray:
    """What the best of some controls is worth for ``cost`` [seeds], under each seed."""
    offers = []
    for one in controls:
        total = one.total(uses)
        offers.append(np.array([np.interp(math.log(x), np.log(row), quality)
                                for x, row, quality in zip(cost, total, one.quality, strict=True)]))
        offers += [one.quality[:, at] for at in range(len(one.sizes)) if total[:, at].mean() <= cost.mean()]
    return max(offers, key=lambda offer: float(offer.mean()))


def cheapest(found: Mapping[str, Curve], arm: str, against: Sequence[str]) -> float | None:
    """The fewest trainings of `AMORTISED` that must share the selection for the arm to be ahead somewhere."""
    return next((uses for uses in AMORTISED
                 if any(one.verdict > 0 for one in standings(found, arm, against, uses=uses))), None)
