"""Protocols: how ways of learning that each have options to tune are compared, so that tuning favours none."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import Method, preset

__all__ = ["Judged", "Protocol", "TimeToTarget", "TunedElsewhere"]

Setting = Mapping[str, Any]
Curve = Sequence[tuple[float, float]]  # what was spent until then, and the score that was reached, in order
Run = Callable[[str, Setting, str, int], Curve]  # a way of learning, its setting, a workload and a seed


@dataclass(frozen=True)
class Judged:
    """What a protocol found.

    Attributes:
        scores: of each way, higher is better.
        chosen: of each way and workload, the setting that counted.
        reached: of each way and workload, what the score is made of; see the method's page.
    """

    scores: Mapping[str, float]
    chosen: Mapping[str, Mapping[str, Setting]]
    reached: Mapping[str, Mapping[str, float]]

    @property
    def order(self) -> list[str]:
        """The ways, the best first."""
        return sorted(self.scores, key=lambda way: -self.scores[way])


class Protocol(Method, abc.ABC):
    """Base of all: runs every way with every setting, as many settings for each, and scores them."""

    family: ClassVar[str] = "protocol"
    verb: ClassVar[str] = "judge"

    def judge(self, run: Run, settings: Mapping[str, Sequence[Setting]], workloads: Sequence[str], *,
              seeds: Sequence[int]) -> Judged:
        """The scores of all ways.

        Args:
            run: a way with a setting on a workload under a seed -> pairs of cost and score as they came.
            settings: of each way, those that are tried.
            workloads: names of tasks.
            seeds: of the repetitions.

        Raises:
            OptionError: if ways have different numbers of settings, or workloads or seeds are too few.
            DataError: if a run gives nothing, or no finite numbers.
        """
        if len({len(tried) for tried in settings.values()}) != 1 or not all(settings.values()):
            raise OptionError("every way is tuned with as many settings, one at least", where=self.name)
        if len(set(workloads)) < max(self.least, len(workloads)) or not seeds:
            raise OptionError(f"{self.least} different workloads and a seed are needed", where=self.name)

        def checked(way: str, setting: Setting, workload: str, seed: int) -> Curve:
            curve = list(run(way, setting, workload, seed))
            if not curve or not np.isfinite(curve).all():
                raise DataError(f"a run of '{way}' gave no finite scores", where=workload)
            return curve

        return self.judged(checked, settings, list(workloads), list(seeds))

    @property
    def least(self) -> int:
        """Workloads that are needed."""
        return 1

    @abc.abstractmethod
    def judged(self, run: Run, settings: Mapping[str, Sequence[Setting]], workloads: list[str],
               seeds: list[int]) -> Judged:
        """What `judge` returns, with ``run`` checked."""


class TunedElsewhere(Protocol):
    """Tune each way on the first workload, and report what the chosen setting reaches on the others, untouched.

    A way whose options must be chosen anew on what it is reported on is no way to learn what arrives bit by bit: its
    data cannot be seen twice. The workloads are of one structure (as many tasks and classes) and of different data.
    Cha and Cho 2024, "Hyperparameters in Continual Learning: a Reality Check". A score is the mean over seeds of the
    last one of a run; ``reached`` has it for each workload.

    Attributes:
        in_place: tune on each reported workload itself, as is usual; the difference is the optimism of doing so.
    """

    in_place: bool = False

    @property
    def least(self) -> int:
        return 2

    def judged(self, run: Run, settings: Mapping[str, Sequence[Setting]], workloads: list[str],
               seeds: list[int]) -> Judged:
        first, *reported = workloads

        def mean(way: str, setting: Setting, workload: str) -> float:
            return float(np.mean([run(way, setting, workload, seed)[-1][1] for seed in seeds]))

        chosen: dict[str, dict[str, Setting]] = {}
        reached: dict[str, dict[str, float]] = {}
        for way, tried in settings.items():
            tuned_on = reported if self.in_place else [first]
            best = {on: max(tried, key=lambda setting, on=on, way=way: mean(way, setting, on))  # type: ignore[misc]
                    for on in tuned_on}
            chosen[way] = {on: best[on if self.in_place else first] for on in reported}
            reached[way] = {on: mean(way, chosen[way][on], on) for on in reported}
        return Judged({way: float(np.mean(list(found.values()))) for way, found in reached.items()}, chosen, reached)


class TimeToTarget(Protocol):
    """Race ways to a score set beforehand on several workloads, and sum the race up as a performance profile.

    On each workload the time of a way is the median over seeds of what its fastest setting spent until it reached the
    target; ``reached`` has it, infinite if it never did. A way's profile at a factor f is the share of workloads on
    which it took at most f times as long as the fastest way, and its score is the mean of the profile over factors from
    1 to ``most``. Dahl et al. 2023, "Benchmarking Neural Network Training Algorithms" (AlgoPerf), with the ruleset in
    which settings are searched.

    Attributes:
        targets: of each workload, the score to reach; where none is said, what half of the ways reach with their
            fastest setting in the median over seeds.
        most: factor at which the profile ends.
    """

    targets: dict[str, float] = {}
    most: float = Field(default=4.0, gt=1)

    def judged(self, run: Run, settings: Mapping[str, Sequence[Setting]], workloads: list[str],
               seeds: list[int]) -> Judged:
        reached: dict[str, dict[str, float]] = {way: {} for way in settings}
        chosen: dict[str, dict[str, Setting]] = {way: {} for way in settings}
        for workload in workloads:
            curves = {way: [[run(way, setting, workload, seed) for seed in seeds] for setting in tried]
                      for way, tried in settings.items()}
            target = self.targets.get(workload, _half(curves))
            for way, tried in curves.items():
                times = np.array([[_first(curve, target) for curve in some] for some in tried])  # [settings, seeds]
                reached[way][workload] = float(np.median(times.min(axis=0)))
                chosen[way][workload] = settings[way][int(np.argmin(np.median(times, axis=1)))]
        return Judged({way: self._score(way, reached, workloads) for way in settings}, chosen, reached)

    def _score(self, way: str, reached: Mapping[str, Mapping[str, float]], workloads: Sequence[str]) -> float:
        found = []
        for workload in workloads:
            fastest = min(times[workload] for times in reached.values())
            factor = reached[way][workload] / fastest if np.isfinite(reached[way][workload]) else np.inf
            found.append(max(self.most - factor, 0.0) / (self.most - 1))
        return float(np.mean(found))


def _first(curve: Curve, target: float) -> float:
    """What was spent when the target was first reached."""
    return next((cost for cost, score in curve if score >= target), float("inf"))


def _half(curves: Mapping[str, Sequence[Sequence[Curve]]]) -> float:
    """The score that half of the ways reach: of each, the best of its settings' medians over seeds."""
    best = [max(float(np.median([max(score for _, score in curve) for curve in some])) for some in tried)
            for tried in curves.values()]
    return sorted(best)[len(best) // 2]


preset("tuned-elsewhere", TunedElsewhere, papers=(234,))
preset("tuned-in-place", TunedElsewhere, in_place=True)
preset("time-to-target", TimeToTarget, papers=(70,))
