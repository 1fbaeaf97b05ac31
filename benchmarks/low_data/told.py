"""What the cells say: means with intervals, ranks, and how far scrimp is from the best of its peers.

A way that was late or failed has nothing to answer with, so it scores nothing. Ways are compared under the seeds with
which all ways of that task and number of rows were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.leads import Lead
from benchmarks.low_data.record import Key
from benchmarks.low_data.ways import OWN
from scrimp.evaluation.statistics import Interval, t_interval

__all__ = ["Against", "Place", "against", "interval", "places", "ranks"]

Cells = Mapping[Key, Mapping[str, Any]]


@dataclass(frozen=True)
class Place:
    """All ways on a task with so many rows.

    Attributes:
        seeds: under which all of them were measured.
        scores: float64 [seeds] of each way.
    """

    task: str
    count: int
    seeds: tuple[int, ...]
    scores: Mapping[str, np.ndarray]

    @property
    def name(self) -> str:
        return f"{self.task}, {self.count}"


@dataclass(frozen=True, kw_only=True)
class Against(Lead):
    """How far scrimp is ahead of the peer whose mean is highest, paired by seed, with Student's 95 % interval."""

    place: Place
    peer: str


def places(found: Cells) -> list[Place]:
    """By task and number of rows, in the order of both, those with a seed under which all ways were measured."""
    by_place: dict[tuple[str, int], dict[str, dict[int, float]]] = {}
    for key, cell in found.items():
        by_place.setdefault((key.task, key.count), {}).setdefault(key.way, {})[key.seed] = cell["score"]
    told = []
    for (task, count), ways in sorted(by_place.items()):
        seeds = tuple(sorted(set.intersection(*map(set, ways.values()))))
        if seeds:
            told.append(Place(task, count, seeds, {way: np.array([scores[seed] for seed in seeds])
                                                   for way, scores in sorted(ways.items())}))
    return told


def interval(scores: np.ndarray) -> Interval:
    """Of the mean over seeds; without two of them, nobody knows."""
    return t_interval(scores.tolist()) if len(scores) > 1 else (-np.inf, np.inf)


def ranks(told: Sequence[Place]) -> dict[str, tuple[float, int]]:
    """The mean rank of each way by its mean, and over how many places; 1 is best, equals share theirs."""
    of: dict[str, list[float]] = {}
    for place in told:
        found = rankdata([-scores.mean() for scores in place.scores.values()])
        for way, rank in zip(place.scores, found.tolist(), strict=True):
            of.setdefault(way, []).append(rank)
    return {way: (float(np.mean(values)), len(values)) for way, values in of.items()}


def against(place: Place) -> Against | None:
    """Scrimp and the best of its peers; None if one side is not there."""
    peers = {way: scores for way, scores in place.scores.items() if way != OWN}
    if OWN not in place.scores or not peers:
        return None
    peer = max(peers, key=lambda way: float(peers[way].mean()))
    ahead = place.scores[OWN] - peers[peer]
    low, high = interval(ahead)
    return Against(place=place, peer=peer, ahead=float(ahead.mean()), low=low, high=high)
