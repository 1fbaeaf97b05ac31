"""Which pools of rows to train on: the good ones alone, or also those that are worse but not yet seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pydantic import Field

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import preset
from scrimp.planning.allocation import Allocator, Piloted
from scrimp.planning.curves import Estimate

__all__ = ["ByUtility", "Utility"]

Shares = Callable[[Sequence[str]], Mapping[str, float]]  # of the tokens of pools that are trained on together

_LEAST = 3  # runs of a pool
_STARTS, _MOST_PASSES = 8, 10_000
_SPREAD = 0.5  # of the starts, in logarithms
_LOW, _HIGH = (1e-4, 0.05), (5.0, 1e3)  # bounds of a pool's utility and half-life


@dataclass(frozen=True)
class Utility:
    """What tokens of a pool do for the loss.

    Attributes:
        power: of the tokens in a first pass, with which the loss falls.
        half_life: passes after which that power is half.
        size: unique tokens; infinite if it has no end.
    """

    power: float
    half_life: float
    size: float


class ByUtility(Allocator):
    """Train on those pools together that a law of each pool alone, and of its repetition, says to be best.

    After n tokens, of which n_j by the end of pass j, ``loss = a n_1^-b_1 prod_j (n_j / n_(j-1))^-b_j + d`` with
    ``b_j = b (1/2)^((j-1)/tau)``: the power b and the half-life tau are of each pool, a and d of all. Pools that are
    trained on together have the mean of their powers, and each a half-life that is longer as its rows come round less
    often; so nothing is ever trained jointly to find this out. With few tokens to spend the best pool alone is chosen,
    with many also others, before the best is repeated too often. Goyal et al. 2024, "Scaling Laws for Data Filtering --
    Data Curation cannot be Compute Agnostic". Theirs are pools of one size; here a mean is weighted by sizes, and how
    much less often rows come round is the ratio of sizes.

    The budget is spent on training: a source's cost is that of a token of its pool.

    Attributes:
        sizes: unique tokens of each pool; one that is not named has no end.
    """

    sizes: dict[str, float] = Field(default={})

    def split(self, budget: float, costs: Mapping[str, float],
              pilots: Sequence[Piloted]) -> tuple[dict[str, int], Estimate | None, str]:
        law = self.fitted(costs, pilots)
        told = {chosen: law(chosen, budget / self._cost(chosen, costs))
                for count in range(1, len(costs) + 1) for chosen in combinations(costs, count)}
        best = min(told, key=lambda chosen: told[chosen])
        shares, tokens = self.shares(best), budget / self._cost(best, costs)
        counts = {name: int(shares.get(name, 0.0) * tokens + 1e-9) for name in costs}
        found = told[best]
        return counts, Estimate(found, found, found), f"{' and '.join(best)}: a loss of {found:.3g} is foreseen"

    def shares(self, chosen: Sequence[str]) -> dict[str, float]:
        """Of the tokens of each chosen pool, which are drawn from all alike."""
        sizes = {name: self.sizes.get(name, np.inf) for name in chosen}
        if endless := [name for name, size in sizes.items() if np.isinf(size)]:
            return {name: float(name in endless) / len(endless) for name in chosen}
        return {name: size / sum(sizes.values()) for name, size in sizes.items()}

    def _cost(self, chosen: Sequence[str], costs: Mapping[str, float]) -> float:
        """Of a token that is drawn from the chosen pools."""
        return sum(share * costs[name] for name, share in self.shares(chosen).items())

    def fitted(self, costs: Mapping[str, float], pilots: Sequence[Piloted]) -> _Law:
        """The law of each pool alone, by those pilots that spent all on one.

        Raises:
            OptionError: a size is not positive, or of a pool that has no cost.
            DataError: there are fewer than three such pilots of a pool, or an error is not positive.
        """
        if not self.sizes.keys() <= costs.keys() or not all(size > 0 for size in self.sizes.values()):
            raise OptionError("sizes are positive, and of pools that have a cost", where=self.name)
        runs = {name: [(one.spent / costs[name], one.error) for one in pilots if one.shares.get(name) == 1.0]
                for name in costs}
        if few := [name for name, some in runs.items() if len({tokens for tokens, _ in some}) < _LEAST]:
            raise DataError(f"'{few[0]}' alone was tried with fewer than {_LEAST} sums", where=self.name,
                            fix="give more pilots with one source each")
        if not all(error > 0 and np.isfinite(error) for some in runs.values() for _, error in some):
            raise DataError("a pilot's error is not positive and finite", where=self.name)
        return _Law.of(runs, {name: self.sizes.get(name, np.inf) for name in costs}, self.shares)


class _Law:
    """Of pools, by their names.

    Attributes:
        pools: name -> its utility.
    """

    def __init__(self, scale: float, end: float, pools: Mapping[str, Utility],
                 shares: Shares) -> None:
        self.scale, self.end, self.pools, self._shares = scale, end, pools, shares

    @classmethod
    def of(cls, runs: Mapping[str, Sequence[tuple[float, float]]], sizes: Mapping[str, float],
           shares: Shares) -> _Law:
        """The law that lies nearest to the logarithms of what runs reached."""
        from scipy.optimize import least_squares

        names, least = list(runs), min(error for some in runs.values() for _, error in some)
        told = np.log([error for some in runs.values() for _, error in some])

        def law(found: np.ndarray) -> _Law:
            pools = {name: Utility(float(np.exp(found[2 + 2 * i])), float(np.exp(found[3 + 2 * i])), sizes[name])
                     for i, name in enumerate(names)}
            return cls(float(np.exp(found[0])), float(least / (1 + np.exp(-found[1]))), pools, shares)

        def off(found: np.ndarray) -> np.ndarray:
            made = law(found)
            return np.log([made((name,), tokens) for name, some in runs.items() for tokens, _ in some]) - told

        start = np.array([told.max(), 0.0, *[np.log(0.2), np.log(5.0)] * len(names)])
        low, high = (np.log([edge[0], edge[1]] * len(names)) for edge in (_LOW, _HIGH))
        bounds = (np.array([-30.0, -10.0, *low]), np.array([60.0, 10.0, *high]))
        rng = np.random.default_rng(0)
        tried = [least_squares(off, np.clip(start + _SPREAD * i * rng.standard_normal(len(start)), *bounds),
                               bounds=bounds, max_nfev=300) for i in range(_STARTS)]
        return law(min(tried, key=lambda one: float(one.cost)).x)

    def __call__(self, chosen: Sequence[str], tokens: float) -> float:
        """The loss after so many tokens, drawn from all rows of the chosen pools alike."""
        size = min(sum(self.pools[name].size for name in chosen), tokens)
        passes = min(int(np.ceil(tokens / size)), _MOST_PASSES)
        ends = np.append(np.arange(1, passes) * size, tokens)
        gained = np.log(ends / np.concatenate([[1.0], ends[:-1]]))
        power = np.zeros(len(ends))
        for name, share in self._shares(chosen).items():
            if share:
                pool = self.pools[name]
                power += share * pool.power * 0.5 ** (np.arange(len(ends)) / (pool.half_life / share))
        return float(self.scale * np.exp(-power @ gained) + self.end)


preset("pools-by-utility", ByUtility, papers=(340,))
