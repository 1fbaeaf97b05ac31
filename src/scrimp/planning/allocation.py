"""What to spend a budget of data on: good labels or many, answers or preferences, new rows or old ones."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from pydantic import Field

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import Method, build, preset
from scrimp.planning.curves import Estimate, Fitted, Law, Point

__all__ = ["Allocation", "Allocator", "ByRatio", "CurveOfEach", "FirstThenSecond", "NewOrAgain", "Piloted", "splits"]


@dataclass(frozen=True)
class Allocation:
    """How a budget is spent.

    Attributes:
        counts: of each source, how much is bought of it.
        spent: of the budget; never more than it.
        expected: the error that is foreseen, where something was measured to foresee it by.
        why: in words.
    """

    counts: Mapping[str, int]
    spent: float
    expected: Estimate | None
    why: str


@dataclass(frozen=True)
class Piloted:
    """What was reached when some money was spent in some proportion.

    Attributes:
        shares: of each source, its share of the money.
        spent: money in all.
        error: what was reached: a loss or an error, positive.
    """

    shares: Mapping[str, float]
    spent: float
    error: float


class Allocator(Method, abc.ABC):
    """Base of all: splits a budget between sources of given cost."""

    family: ClassVar[str] = "allocation"
    verb: ClassVar[str] = "allocate"

    def allocate(self, budget: float, costs: Mapping[str, float], *, pilots: Sequence[Piloted] = ()) -> Allocation:
        """The split.

        Args:
            budget: in the unit of the costs.
            costs: source -> of one example; in the order in which the method's page names them.
            pilots: what smaller splits reached, for methods that go by it.

        Raises:
            OptionError: if a cost is not positive, or sources are missing.
            DataError: if the pilots do not suffice.
        """
        if not costs or not all(cost > 0 for cost in costs.values()) or not budget > 0:
            raise OptionError("a budget and costs are positive numbers", where=self.name)
        counts, expected, why = self.split(budget, costs, pilots)
        return Allocation(counts, sum(costs[name] * count for name, count in counts.items()), expected, why)

    @abc.abstractmethod
    def split(self, budget: float, costs: Mapping[str, float],
              pilots: Sequence[Piloted]) -> tuple[dict[str, int], Estimate | None, str]:
        """Counts, what is foreseen, and why."""


def splits(names: Sequence[str], parts: int) -> list[dict[str, float]]:
    """All ways to share a whole among ``names`` in steps of one part of so many."""
    return [dict(zip(names, (share / parts for share in shares), strict=True))
            for shares in product(range(parts + 1), repeat=len(names)) if sum(shares) == parts]


def _bought(shares: Mapping[str, float], budget: float, costs: Mapping[str, float]) -> dict[str, int]:
    return {name: int(share * budget / costs[name] + 1e-9) for name, share in shares.items()}


def _two(costs: Mapping[str, float], where: str) -> tuple[str, str]:
    if len(costs) != 2:
        raise OptionError(f"has two sources, not {len(costs)}", where=where)
    first, second = costs
    return first, second


class CurveOfEach(Allocator):
    """Fit a learning curve over money to each split that was tried small, and take the split that ends lowest.

    Whether few good labels, many poor ones or a mixture do best depends on the money, on both costs, and on what the
    model knows already, so that no rule of thumb holds everywhere: small splits are tried (their labels are spent on
    what is wanted anyway), and a law of errors over money is fitted to each. Mallen and Belrose 2024, "Balancing Label
    Quantity and Quality for Scalable Elicitation", draw these curves and tell three regimes apart by them; to choose by
    their extrapolation is ours. Any sources will do.

    Attributes:
        law: the law that is fitted to each split.
    """

    law: str = "learning-curve"

    def split(self, budget: float, costs: Mapping[str, float],
              pilots: Sequence[Piloted]) -> tuple[dict[str, int], Estimate | None, str]:
        grouped: dict[tuple[float, ...], list[Piloted]] = {}
        for one in pilots:
            if one.shares.keys() != costs.keys():
                raise DataError(f"a pilot shares among {sorted(one.shares)}, the costs are of {sorted(costs)}")
            grouped.setdefault(tuple(one.shares[name] for name in costs), []).append(one)
        told = {shares: self._fitted(some).predict({"rows": budget}) for shares, some in grouped.items()
                if len({one.spent for one in some}) > 1 and len(some) > 2}
        if not told:
            raise DataError("no split was tried with two sums of money and three times in all", where=self.name,
                            fix="give more pilots")
        best = min(told, key=lambda shares: told[shares].value)
        shares = dict(zip(costs, best, strict=True))
        words = ", ".join(f"{share:.0%} for {name}" for name, share in shares.items())
        return (_bought(shares, budget, costs), told[best],
                f"of {len(told)} splits, {words} has the lowest curve: {told[best].value:.3g}")

    def _fitted(self, pilots: Sequence[Piloted]) -> Fitted:
        law = build("curve", self.law)
        assert isinstance(law, Law)
        return law.fit([Point({"rows": one.spent}, one.error) for one in pilots])


class FirstThenSecond(Allocator):
    """All for the first source while there is little of it, then a growing part for the second.

    For answers to imitate (the first) and pairs of answers to prefer (the second): with fewer than about a thousand
    examples answers alone do best, beyond that a growing share of preferences does, and without any answers preferences
    start cold, which a share under a tenth mends. Raghavendra et al. 2025, "Balancing the Budget: Understanding
    Trade-offs Between Supervised and Preference-Based Finetuning". They give no formula; the share here grows with the
    logarithm of what could be bought, which is ours.

    Attributes:
        enough: examples of the first source up to which all goes to it.
        doubling: share of the money that moves to the second source with each doubling beyond.
        least: share that stays with the first source.
    """

    enough: int = Field(default=1000, ge=1)
    doubling: float = Field(default=0.2, gt=0, le=1)
    least: float = Field(default=0.1, gt=0, le=1)

    def split(self, budget: float, costs: Mapping[str, float],
              pilots: Sequence[Piloted]) -> tuple[dict[str, int], Estimate | None, str]:
        first, second = _two(costs, self.name)
        affordable = budget / costs[first]
        share = max(1 - self.doubling * max(float(np.log2(affordable / self.enough)), 0.0), self.least)
        return (_bought({first: share, second: 1 - share}, budget, costs), None,
                f"{affordable:.0f} of {first} could be had, {self.enough} are enough for it alone")


class ByRatio(Allocator):
    """One way to write examples, chosen by how many questions to a teacher there are for each seed.

    The sources are, in order, new answers to the seeds' questions, questions rephrased, and new questions: few queries
    a seed are best spent on answers, many on new questions. Chan et al. 2024, "Balancing Cost and Effectiveness of
    Synthetic Data Generation Strategies for LLMs". Where one way overtakes the next depends on the task; the borders
    here are guesses.

    Attributes:
        seeds: examples that there are to begin with.
        borders: queries a seed at which the next source takes over.
    """

    seeds: int = Field(default=100, ge=1)
    borders: tuple[float, ...] = (2.0, 5.0)

    def split(self, budget: float, costs: Mapping[str, float],
              pilots: Sequence[Piloted]) -> tuple[dict[str, int], Estimate | None, str]:
        names = list(costs)
        if len(names) != len(self.borders) + 1 or list(self.borders) != sorted(self.borders):
            raise OptionError(f"{len(self.borders)} rising borders lie between {len(self.borders) + 1} sources, "
                              f"not {len(names)}", where=self.name)
        ratios = [budget / costs[name] / self.seeds for name in names]
        chosen = next((name for name, ratio, border in zip(names, ratios, self.borders, strict=False)
                       if ratio < border), names[-1])
        ratio = ratios[names.index(chosen)]
        return ({name: int(budget / costs[name]) if name == chosen else 0 for name in names}, None,
                f"{ratio:.1f} queries a seed: {chosen}")


class NewOrAgain(Allocator):
    """How many rows to buy, and how often to train on each, when both cost.

    The sources are a new row and one row's training. ``u`` rows that are seen ``e`` times are worth ``u (1 + R (1 -
    exp(-(e - 1) / R)))`` rows that are seen once (Muennighoff et al. 2023, "Scaling Data-Constrained Language Models"),
    and the split that is worth most within the budget is taken.

    Attributes:
        rounds: R, the rounds of new rows that repeating is worth in the end.
        most: epochs, at most.
    """

    rounds: float = Field(default=15.4, gt=0)
    most: int = Field(default=64, ge=1)

    def split(self, budget: float, costs: Mapping[str, float],
              pilots: Sequence[Piloted]) -> tuple[dict[str, int], Estimate | None, str]:
        new, again = _two(costs, self.name)
        epochs = np.arange(1, self.most + 1)
        rows = np.floor(budget / (costs[new] + epochs * costs[again]))
        worth = rows * (1 + self.rounds * (1 - np.exp(-(epochs - 1) / self.rounds)))
        best = int(worth.argmax())
        return ({new: int(rows[best]), again: int(rows[best] * epochs[best])}, None,
                f"{rows[best]:.0f} rows seen {epochs[best]} times are worth {worth[best]:.0f} seen once")


preset("learning-curves", CurveOfEach, papers=(336,))
preset("answers-then-preferences", FirstThenSecond, papers=(325,))
preset("synthesis-by-ratio", ByRatio, papers=(334,))
preset("new-or-again", NewOrAgain, papers=(568,))
