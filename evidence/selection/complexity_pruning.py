"""Clusters are pruned each by its complexity: more is kept where rows differ."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from scrimp.domains.vision import Fitting, accuracy, fit_classifier
from scrimp.evidence import Lab, claim

LARGEST, SMALLEST, COPIES, JITTER = 350, 90, 6, 0.03
CLUSTERS, STEPS, BATCH = 40, 200, 64


@claim(
    papers=(26,),
    says="A pool of handwritten digits has large classes and small ones, and half of its classes are near copies of a "
         "sixth of their rows. A quarter of it, kept by the complexity of clusters of pixels, teaches a small "
         "convolutional network no less than a quarter kept in proportion to the clusters' sizes, both the rows "
         "farthest from the centroids, and more than a quarter drawn by chance.",
    holds_if=("accuracy: complexity >= even", "accuracy: complexity > random"),
    arms={"complexity": {"name": "complexity-pruning", "clusters": CLUSTERS},
          "even": {"name": "cluster-prototypes", "clusters": CLUSTERS},
          "nearest": {"name": "complexity-pruning", "clusters": CLUSTERS, "within": "nearest"},
          "random": {"name": "random"}, "k-center": {"name": "k-center"},
          "facility-location": {"name": "facility-location"}},
    methods=("selection/complexity-pruning", "selection/cluster-prototypes", "selection/random", "selection/k-center",
             "selection/facility-location"),
    minutes=2,
)
def complexity_pruning(lab: Lab, *, name: str, **options: int | str) -> dict[str, float]:
    """Pixels cost no pass, and all networks train for as many steps."""
    x, y, test_x, test_y = (halved(part) if part.ndim > 1 else part
                            for part in lab.mnist(lab.scale(3500, 600), lab.scale(1500, 100)))
    x, y = imbalanced(x, y, lab.rng)
    kept = lab.selected(name, x.reshape(len(x), -1), len(x) // 4, **options)
    fitting = Fitting(steps=lab.scale(STEPS, 3), batch_size=BATCH, learning_rate=3e-3)
    student = fit_classifier(network(lab.seed), x[kept], y[kept], fitting, seed=lab.seed)
    lab.spent(forward=fitting.steps * BATCH, backward=fitting.steps * BATCH)
    return {"accuracy": accuracy(student, test_x, test_y)}


def halved(images: np.ndarray) -> np.ndarray:
    """At half the resolution."""
    return images.reshape(len(images), 1, 14, 2, 14, 2).mean(axis=(3, 5))


def imbalanced(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Classes of sizes that fall, in an order by chance; every other one has few rows, each again and again."""
    rows, sizes = [], np.geomspace(LARGEST, SMALLEST, 10).round().astype(int)
    for place, group in enumerate(rng.permutation(10)):
        own = rng.permutation(np.flatnonzero(y == group))[:sizes[place]]
        rows.append(own if place % 2 else rng.choice(own[:len(own) // COPIES], len(own)))
    chosen = np.concatenate(rows)
    return (x[chosen] + JITTER * rng.standard_normal(x[chosen].shape)).astype(np.float32), y[chosen]


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(288, 10))
