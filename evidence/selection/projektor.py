"""How well a mixture of sources does is foreseen from its distance to the target, in small samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from scrimp.data.selection.projection import Line, Projection, distance, nearest_shares
from scrimp.evidence import Lab, claim
from scrimp.tuning.heads import Logistic

SMALL, LARGE, WHOLE = 40, 80, 400  # rows of the pilots, and of what is foreseen
PILOTS, FORESEEN = 10, 10  # mixtures
Foresight = Callable[[np.ndarray], float]


@claim(
    papers=(374,),
    says="Three sources of digits, the low ones, the high ones and all with half their labels wrong, are mixed. Ten "
         "mixtures are learned from at two small sizes. A line over their distance from the target by optimal "
         "transport foresees what ten other mixtures come to at five times the size with a lower error than lines "
         "over the shares, between sizes by the logarithm or by a power law; the mixture that it chooses does better "
         "than an even one and than those that the others choose.",
    holds_if=("error: transport < shares", "error: transport < power", "accuracy: transport > even",
              "accuracy: transport > shares", "accuracy: transport > power"),
    arms={"transport": {"by": "transport"}, "shares": {"by": "shares"}, "power": {"by": "power"}, "even": {"by": None}},
    methods=("selection/got-d",),
    minutes=3,
)
def projektor(lab: Lab, *, by: Literal["transport", "shares", "power"] | None) -> dict[str, float]:
    sources, target, test = made(lab)
    pilots, asked = (lab.rng.dirichlet(np.ones(3), size=lab.scale(count, 4)) for count in (PILOTS, FORESEEN))
    found = [[learned(lab, sources, test, shares, size) for shares in pilots] for size in (SMALL, LARGE)]
    foresee, best = foresight(by, sources, target, pilots, found)
    errors = [abs(foresee(shares) - learned(lab, sources, test, shares, WHOLE)) for shares in asked]
    return {"error": float(np.mean(errors)), "accuracy": learned(lab, sources, test, best, WHOLE)}


def foresight(by: str | None, sources: Sequence[np.ndarray], target: np.ndarray, pilots: np.ndarray,
              found: list[list[float]]) -> tuple[Foresight, np.ndarray]:
    """What foresees the accuracy of a mixture at the whole size, and the mixture that it chooses."""
    even = np.full(3, 1 / 3)
    if by == "transport":
        samples = [source[:LARGE] for source in sources]
        apart = [distance(samples, target, shares)[0] for shares in pilots]
        first, second = (Line.fit(apart, scores) for scores in found)
        projected = Projection((SMALL, LARGE), (first, second))
        best = nearest_shares(samples, target)
        return (lambda shares: projected.at(distance(samples, target, shares)[0], WHOLE)), best
    if by is None:
        level = float(np.mean(found[1]))
        return (lambda shares: level), even
    way, back = (np.log1p, np.expm1) if by == "shares" else (lambda s: np.log(1 - s), lambda s: 1 - np.exp(s))
    small, large = (np.linalg.lstsq(pilots, way(np.array(scores)), rcond=None)[0] for scores in found)
    further = np.log(WHOLE / SMALL) / np.log(LARGE / SMALL)
    weights = small + (large - small) * further
    grid = np.vstack([np.random.default_rng(0).dirichlet(np.ones(3), size=500), np.eye(3)])
    return (lambda shares: float(back(shares @ weights))), grid[int(np.argmax(back(grid @ weights)))]


def made(lab: Lab) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The sources, the target and the test rows: pixels with the label, one-hot, beside them."""
    x, y, test_x, test_y = lab.mnist(3500, 1500)
    low, high, rest = (np.flatnonzero(part)[:WHOLE] for part in (
        (y < 5) & (np.arange(len(y)) < 2500), (y >= 5) & (np.arange(len(y)) < 2500), np.arange(len(y)) >= 2500))
    wrong = np.where(lab.rng.random(len(rest)) < 0.5, lab.rng.integers(10, size=len(rest)), y[rest])
    pool = [joined(x[low], y[low]), joined(x[high], y[high]), joined(x[rest], wrong)]
    return pool, joined(test_x[:200], test_y[:200]), joined(test_x[200:], test_y[200:])


def joined(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A quarter of the resolution, and labels as far apart as images are."""
    small = x.reshape(len(x), 7, 4, 7, 4).mean(axis=(2, 4)).reshape(len(x), 49)
    return np.hstack([small, 1.5 * np.eye(10)[y]])


def learned(lab: Lab, sources: Sequence[np.ndarray], test: np.ndarray, shares: np.ndarray, size: int) -> float:
    """The accuracy after learning from so many rows of a mixture."""
    counts = np.floor(np.asarray(shares) * size).astype(int)
    rows = np.vstack([source[:count] for source, count in zip(sources, counts, strict=True)])
    lab.spent(forward=len(rows), backward=len(rows))
    head = Logistic(strength=16.0, normalise=True).fit(rows[:, :49], rows[:, 49:].argmax(axis=1), classes=10)
    return float((head.predict(test[:, :49]) == test[:, 49:].argmax(axis=1)).mean())
