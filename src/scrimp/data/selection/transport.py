"""Optimal transport between rows and a target: how far they are apart, and which rows bring them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.special import logsumexp

from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.target import best_first, demanded, directions

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Transport", "Transported", "calibrated", "transport"]

_BLOCK = 1 << 22  # costs that are held at once: 32 MiB


class Transport(Selector):
    """Keep the rows whose weight, were it raised, would bring the pool nearest to the target.

    Of ``OT(pool, target)``, the least cost of moving the pool's weight to the target's, with entropy, the derivative
    by the weight of row i, taken evenly from the others, is ``f_i - mean over j != i of f_j`` of its dual potentials f;
    rows are kept from the most negative on. The pool stands for what the model knows already: the rows that are kept
    need not look like the target, they are what the pool lacks to be it. Kang et al. 2024, "Get more for less:
    Principled Data Selection for Warming Up Fine-Tuning in LLMs" (GOT-D); the derivative is of Just et al. 2023,
    "LAVA: Data Valuation without Pre-Specified Learning Algorithms".

    Attributes:
        epsilon: of the entropy, as a share of the mean cost; the smaller, the nearer to plain transport and the slower.
        tolerance: the share of the target's weight that may arrive at a wrong row.
        iterations: of Sinkhorn's algorithm, at most.
    """

    epsilon: float = Field(default=0.05, gt=0)
    tolerance: float = Field(default=1e-3, gt=0)
    iterations: int = Field(default=200, ge=1)

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        wanted = demanded(target, self.name)
        rows, aims = (directions(signals.embeddings(part).astype(np.float64)) for part in (pool, wanted))
        found = transport(rows, aims, epsilon=self.epsilon, tolerance=self.tolerance, iterations=self.iterations)
        scores = -calibrated(found.rows)
        return Selection(best_first(scores, keep), scores,
                         why=f"their weight brings the pool, {found.value:.3g} from the target, nearest to it")

    def cost(self) -> Cost:
        return Cost(forward=1)


@dataclass(frozen=True)
class Transported:
    """What moving one weighted set of points onto another takes.

    Attributes:
        value: the least cost, its entropy included.
        rows, columns: float64 [N] and [M], the dual potentials: how the value changes with the weight of a point, up to
            a constant.
        wrong: the share of the weight that arrives at a wrong column.
    """

    value: float
    rows: np.ndarray
    columns: np.ndarray
    wrong: float


def transport(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, *, epsilon: float = 0.05,
              tolerance: float = 1e-3, iterations: int = 200) -> Transported:
    """Move the points ``x`` [N, D], of even weight or of ``weights`` [N], onto the even points ``y`` [M, D].

    The cost is the square of the distance. ``min <P, C> + e KL(P | a b')``, by Sinkhorn's algorithm on the logarithms;
    costs are computed again in each iteration, a block of rows at a time, so that memory grows with N + M alone.
    Cuturi 2013, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport".

    Args:
        x, y: at least one point each.
        weights: sum to one; zero where a point takes no part, whose potential is what it would be.
        epsilon: e, as a share of the mean cost.
        tolerance: see `Transported.wrong`.
        iterations: at most.

    Raises:
        ModelError: a point is not finite.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ModelError("a vector is not finite", fix="load the encoder in float32")
    a = np.full(len(x), 1 / len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    with np.errstate(divide="ignore"):
        log_a, even = np.log(a), -np.log(len(y))
    e = max(epsilon * _mean_cost(x, y, a), 1e-12)
    f, g, wrong = np.zeros(len(x)), np.zeros(len(y)), 1.0
    for iteration in range(iterations + 1):  # the last gives f its due and looks at what arrives
        arriving = np.full(len(y), -np.inf)
        for part, costs in _blocks(x, y):
            f[part] = -e * logsumexp((g - costs) / e + even, axis=1)
            arriving = np.logaddexp(arriving, logsumexp((f[part, None] - costs) / e + log_a[part, None], axis=0))
        wrong = float(np.abs(np.exp(g / e + arriving) - 1).mean() / 2)
        if wrong <= tolerance or iteration == iterations:
            break
        g = -e * arriving
    return Transported(float(a @ f + g.mean()), f, g, wrong)


def calibrated(potentials: np.ndarray) -> np.ndarray:
    """The derivative by the weight of each of N points, taken evenly from the others: ``f_i - mean_{j != i} f_j``."""
    others = max(1, len(potentials) - 1)
    return potentials - (potentials.sum() - potentials) / others


def _blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The squared distances of some rows of ``x`` to all of ``y``, block by block."""
    lengths, at_once = (y * y).sum(axis=1), max(1, _BLOCK // len(y))
    for begin in range(0, len(x), at_once):
        rows = x[begin:begin + at_once]
        costs = (rows * rows).sum(axis=1)[:, None] + lengths - 2 * rows @ y.T
        yield slice(begin, begin + len(rows)), np.maximum(costs, 0.0)


def _mean_cost(x: np.ndarray, y: np.ndarray, a: np.ndarray) -> float:
    """Of moving without a plan: the mean squared distance, from the moments."""
    return max(0.0, float(a @ (x * x).sum(axis=1) + (y * y).sum(axis=1).mean() - 2 * (a @ x) @ y.mean(axis=0)))


preset("got-d", Transport, papers=(22,))
