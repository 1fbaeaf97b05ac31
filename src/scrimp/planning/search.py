"""Searching settings when tries cost: many small tries and few large ones, beginning where earlier runs did well, or
around what no other try beats in quality and cost."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import Method, preset
from scrimp.planning.fronts import front

__all__ = ["AroundTheFront", "AtRandom", "Found", "Halving", "Past", "Range", "Searcher", "Tried"]

Setting = dict[str, float]


@dataclass(frozen=True)
class Range:
    """A number between ``low`` and ``high``, searched by its logarithm where ``log``, whole where ``whole``."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, place: float) -> float:
        """The value at a place from 0 to 1."""
        place = min(max(place, 0.0), 1.0)
        value = self.low * (self.high / self.low) ** place if self.log else self.low + (self.high - self.low) * place
        return float(round(value)) if self.whole else value

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Tried:
    """A setting that was tried: with which share of the whole work, its score (higher is better), and what it cost."""

    setting: Mapping[str, float]
    share: float
    score: float
    cost: float


@dataclass(frozen=True)
class Past:
    """A run of an earlier task, as a ledger has it.

    Attributes:
        task: numbers that tell tasks apart, such as rows, labels, mean length; in the same order for all.
        setting, score: what was run, and what it reached; scores are compared within a task alone.
    """

    task: tuple[float, ...]
    setting: Mapping[str, float]
    score: float


@dataclass(frozen=True)
class Found:
    """All that was tried, in order.

    Attributes:
        best: the try with the highest score of those that were given the most work.
        front: the tries that none beats in score and cost.
        cost: of all.
    """

    tried: tuple[Tried, ...]

    @property
    def best(self) -> Tried:
        """The try with the highest score of those that were given the most work."""
        most = max(one.share for one in self.tried)
        return max((one for one in self.tried if one.share == most), key=lambda one: one.score)

    @property
    def front(self) -> list[Tried]:
        """The tries that none beats in score and cost."""
        return [self.tried[i] for i in front([(one.score, -one.cost) for one in self.tried])]

    @property
    def cost(self) -> float:
        """Of all tries together."""
        return sum(one.cost for one in self.tried)


Run = Callable[[Setting, float], tuple[float, float]]  # a setting and a share of the work -> its score and its cost


class Searcher(Method, abc.ABC):
    """Base of all: tries settings within a budget."""

    family: ClassVar[str] = "search"
    verb: ClassVar[str] = "search"

    def search(self, run: Run, space: Mapping[str, Range], budget: float, *, past: Sequence[Past] = (),
               task: Sequence[float] = (), seed: int = 0) -> Found:
        """Try settings until the budget is spent.

        Args:
            run: a setting with a share of the whole work (0 to 1) -> its score, higher is better, and its cost.
            space: of each option by its name, between what.
            budget: in the unit of the costs; a try is begun as long as anything of it is left.
            past: runs of earlier tasks, for methods that begin with what those found.
            task: numbers of this task, as `Past` has them.
            seed: of what is drawn.

        Raises:
            OptionError: if the space is empty, a range is turned round, or nothing can be paid for.
            DataError: if a run gives no number, or costs nothing.
        """
        if not space or not all(one.low <= one.high and (one.low > 0 or not one.log) for one in space.values()):
            raise OptionError("a search needs ranges, the lower end first, and positive where they are logarithmic")
        if not budget > 0:
            raise OptionError("the budget of a search is positive")
        tries = _Tries(run, space, budget)
        self.go(tries, list(past), tuple(task), np.random.default_rng(seed))
        return Found(tuple(tries.tried))

    @abc.abstractmethod
    def go(self, tries: _Tries, past: Sequence[Past], task: tuple[float, ...], rng: np.random.Generator) -> None:
        """Try settings as long as ``tries`` has some left."""


class _Tries:
    """What was tried, and what is left."""

    def __init__(self, run: Run, space: Mapping[str, Range], budget: float) -> None:
        self._run, self.space, self.budget, self.tried = run, space, budget, list[Tried]()

    @property
    def left(self) -> float:
        return self.budget - sum(one.cost for one in self.tried)

    def __call__(self, places: np.ndarray, share: float) -> float:
        """The score at places from 0 to 1, one for each option."""
        setting = {name: one.at(float(place)) for (name, one), place in zip(self.space.items(), places, strict=True)}
        score, cost = self._run(setting, share)
        if not (math.isfinite(score) and math.isfinite(cost) and cost > 0):
            raise DataError(f"a try gave the score {score} at the cost {cost}", where=str(setting),
                            fix="give a number, however bad, and a positive cost")
        self.tried.append(Tried(setting, share, score, cost))
        return score


class AtRandom(Searcher):
    """Settings by chance, each with the whole work: what every search is to be measured against."""

    def go(self, tries: _Tries, past: Sequence[Past], task: tuple[float, ...], rng: np.random.Generator) -> None:
        while tries.left > 0:
            tries(rng.random(len(tries.space)), 1.0)


class Halving(Searcher):
    """Many settings with little work, the better ones again with more, until few have had it all.

    Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization". With
    ``prior``, the first settings are not drawn by chance: a forest is fitted to runs of earlier tasks (what each task
    is like, what was set -> how well it did among that task's runs), and of many settings by chance those are begun
    with that it thinks best here. That is what three papers do with far more: Maraval et al. 2023, "End-to-End Meta-
    Bayesian Optimisation with Transformer Neural Processes", whose model learns the choice of each next setting from
    such runs; LLMTune, which has a language model write the first setting; and Neutatz et al. 2023, "AutoML in Heavily
    Constrained Applications", whose forest of earlier runs tells which search would succeed.

    Attributes:
        settings: at first.
        keep: share of the settings that goes on.
        least: share of the work of the first tries.
        prior: whether earlier runs say where to begin.
        chance: share of the first settings that is drawn by chance all the same.
    """

    settings: int = Field(default=9, ge=1)
    keep: float = Field(default=1 / 3, gt=0, lt=1)
    least: float = Field(default=1 / 9, gt=0, le=1)
    prior: bool = False
    chance: float = Field(default=1 / 3, ge=0, le=1)

    def go(self, tries: _Tries, past: Sequence[Past], task: tuple[float, ...], rng: np.random.Generator) -> None:
        while tries.left > 0:
            self._bracket(tries, self._first(tries.space, past, task, rng))

    def _bracket(self, tries: _Tries, places: np.ndarray) -> None:
        share = self.least
        while len(places) and tries.left > 0:
            scores: list[float] = []
            for place in places:
                if tries.left <= 0:
                    return
                scores.append(tries(place, share))
            if share >= 1:
                return
            going_on = max(1, round(self.keep * len(places)))
            places = places[np.argsort(-np.array(scores), kind="stable")[:going_on]]
            share = min(1.0, share / self.keep)

    def _first(self, space: Mapping[str, Range], past: Sequence[Past], task: tuple[float, ...],
               rng: np.random.Generator) -> np.ndarray:
        drawn = rng.random((self.settings, len(space)))
        if not self.prior or len(past) < 2:
            return drawn
        many = rng.random((200 * self.settings, len(space)))
        told = _forest(space, past, rng).predict(np.hstack([np.tile(task, (len(many), 1)), many]))
        by_prior = round((1 - self.chance) * self.settings)
        return np.vstack([many[_apart(many, told, by_prior)], drawn[by_prior:]])


def _forest(space: Mapping[str, Range], past: Sequence[Past], rng: np.random.Generator) -> Any:
    """From a task and a setting to how well it did among the runs of that task, 0 to 1."""
    from sklearn.ensemble import RandomForestRegressor

    if len({len(one.task) for one in past}) > 1 or any(one.setting.keys() != space.keys() for one in past):
        raise DataError("earlier runs have other options or other numbers of their task than this search")
    by_task: dict[tuple[float, ...], list[float]] = {}
    for one in past:
        by_task.setdefault(one.task, []).append(one.score)
    ranks = [np.mean([one.score > score for score in by_task[one.task]]) for one in past]
    rows = [[*one.task, *(space[name].place(one.setting[name]) for name in space)] for one in past]
    forest = RandomForestRegressor(100, min_samples_leaf=2, random_state=int(rng.integers(2**31)), n_jobs=1)
    return forest.fit(np.array(rows), ranks)


def _apart(places: np.ndarray, told: np.ndarray, count: int) -> list[int]:
    """The best ``count`` of the places that are not next to one taken before."""
    chosen: list[int] = []
    room = 0.5 / max(count, 1) ** (1 / places.shape[1])
    for at in np.argsort(-told, kind="stable").tolist():
        if len(chosen) == count:
            break
        if all(np.linalg.norm(places[at] - places[other]) > room for other in chosen):
            chosen.append(at)
    rest = [at for at in np.argsort(-told, kind="stable").tolist() if at not in chosen]
    return chosen + rest[:count - len(chosen)]


class AroundTheFront(Searcher):
    """Settings around those that none beats in score and cost, where a better one for its cost is likely.

    Fetterman et al. 2023, "Tune As You Scale: Hyperparameter Optimization For Compute Efficient Training" (CARBS).
    Candidates are the front's settings, moved a little; Gaussian processes foresee the score and the logarithm of the
    cost of each, and the one with the largest expected gain over what the front has at that cost is tried. Costs of
    the next tries are drawn evenly by their logarithm over what has been seen, so that cheap settings are tried too.
    The paper's model of failures and its resampling of the best are left out.

    Attributes:
        first: settings by chance, to begin with.
        reach: spread of a move, as a share of each range.
        candidates: looked at for each try.
    """

    first: int = Field(default=5, ge=2)
    reach: float = Field(default=0.2, gt=0)
    candidates: int = Field(default=200, ge=1)

    def go(self, tries: _Tries, past: Sequence[Past], task: tuple[float, ...], rng: np.random.Generator) -> None:
        width, seen = len(tries.space), list[np.ndarray]()
        while tries.left > 0:
            place = rng.random(width) if len(seen) < self.first else self._next(tries, np.array(seen), rng)
            seen.append(place)
            tries(place, 1.0)

    def _next(self, tries: _Tries, seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        scores = np.array([one.score for one in tries.tried])
        costs = np.log([one.cost for one in tries.tried])
        best = front([(score, -cost) for score, cost in zip(scores, costs, strict=True)])
        around = seen[rng.choice(best, self.candidates)]
        moved = np.clip(around + self.reach * rng.standard_normal(around.shape), 0, 1)
        score, doubt = _process(seen, scores, moved)
        cost, _ = _process(seen, costs, moved)
        held = np.array([_held(scores[best], costs[best], one) for one in cost])
        gain = _expected_gain(score, doubt, held)
        wanted = rng.uniform(costs.min(), costs.max())
        near = np.exp(-0.5 * ((cost - wanted) / max(np.ptp(costs) / 4, 1e-9)) ** 2)
        chosen: np.ndarray = moved[int(np.argmax(gain * near))]
        return chosen


def _process(seen: np.ndarray, values: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread that a Gaussian process foresees."""
    import warnings

    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0) * Matern(np.full(seen.shape[1], 0.3), (0.05, 5.0), nu=2.5) + WhiteKernel(
        1e-2, (1e-5, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length at its bound says that an option does not matter
        mean, spread = process.fit(seen, values).predict(asked, return_std=True)
    return mean, spread


def _held(scores: np.ndarray, costs: np.ndarray, cost: float) -> float:
    """What the front reaches at a cost: the best score that costs no more, else a little less than its lowest."""
    affordable = scores[costs <= cost]
    return float(affordable.max()) if len(affordable) else float(scores.min() - 0.1 * max(np.ptp(scores), 1e-9))


def _expected_gain(mean: np.ndarray, spread: np.ndarray, held: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    spread = np.maximum(spread, 1e-12)
    away = (mean - held) / spread
    gain: np.ndarray = spread * (away * norm.cdf(away) + norm.pdf(away))
    return gain


preset("random", AtRandom)
preset("halving", Halving)
preset("halving-from-ledger", Halving, papers=(103, 120, 177), prior=True)
preset("around-the-front", AroundTheFront, papers=(117,))
