"""How fast learning goes tells what limits it: variance, or the resolution of a manifold of some dimension."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.planning.curves import points

ROWS = (64, 128, 256, 512, 1024, 2048)
NARROW, MANY = 24, (256, 512, 1024, 2048, 4096)  # random features, and rows of which there are always enough for them
DRAWS = 16  # at most, of so many rows
TESTED = 4000
ALL = 40_000  # rows that stand for all that there are


@claim(
    papers=(342,),
    says="A wide teacher of inputs with few dimensions: the test error of kernel regression falls as a power of the "
         "rows, whose exponent is the smaller the more dimensions there are (resolution-limited). What few random "
         "features lose for want of rows falls with an exponent near one, whatever the dimension (variance-limited).",
    holds_if=("resolution exponent: two > four", "resolution exponent: four > eight",
              "variance exponent: two > 0.8", "variance exponent: two < 1.2",
              "variance exponent: four > 0.8", "variance exponent: four < 1.2",
              "variance exponent: eight > 0.8", "variance exponent: eight < 1.2"),
    arms={"two": {"dimensions": 2}, "four": {"dimensions": 4}, "eight": {"dimensions": 8}},
    methods=("curve/power-law",),
    minutes=2,
)
def exponents(lab: Lab, *, dimensions: int) -> dict[str, float]:
    rows = ROWS[:lab.scale(len(ROWS), 4)]
    whole = lab.scale(ALL, 4000)
    directions = lab.rng.standard_normal((whole + TESTED, dimensions + 1))
    x = directions / np.linalg.norm(directions, axis=1, keepdims=True)  # a sphere of so many dimensions
    hidden, out = lab.rng.standard_normal((dimensions + 1, 512)), lab.rng.standard_normal(512) / np.sqrt(512)
    y = np.maximum(x @ hidden, 0) @ out
    y = (y - y.mean()) / y.std()
    (x, test_x), (y, test_y) = np.split(x, [whole]), np.split(y, [whole])

    def by_kernel(count: int) -> float:
        def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.exp(-np.sqrt(np.maximum(2 - 2 * a @ b.T, 0)))

        weights = np.linalg.solve(kernel(x[:count], x[:count]) + 1e-10 * np.eye(count), y[:count])
        return float(np.mean((kernel(test_x, x[:count]) @ weights - test_y) ** 2))

    random = lab.rng.standard_normal((dimensions + 1, NARROW))

    def by_features(count: int) -> float:
        tested, found = np.maximum(test_x @ random, 0), []
        for at in range(0, min(DRAWS * count, whole - count + 1), count):
            seen = np.maximum(x[at:at + count] @ random, 0)
            weights = np.linalg.lstsq(seen, y[at:at + count], rcond=None)[0]
            found.append(np.mean((tested @ weights - test_y) ** 2))
        return float(np.mean(found))

    many = MANY[:lab.scale(len(MANY), 3)]
    lost = [by_features(count) - by_features(whole) for count in many]
    resolution = build("curve", "power-law", {"exponents": (0.1, 5.0)}).fit(
        points([by_kernel(count) for count in rows], rows=rows))
    variance = build("curve", "power-law", {"offset": False}).fit(points(np.maximum(lost, 1e-9), rows=many))
    return {"resolution exponent": resolution.exponent().value, "variance exponent": variance.exponent().value}
