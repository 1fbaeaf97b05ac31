"""A deletion that switches off a slice leaves more than one that switches off a shard."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.domains.vision import Fitting, fit_classifier
from scrimp.evidence import Lab, claim
from scrimp.trust import Forgetful

_LATER = (8, 16)  # deletions


@claim(
    papers=(445,),
    says="After the same random deletions and without any training anew, sharded models whose slices trained layers "
         "of their own, in several orders, are more accurate than sharded models that lose a shard for each; and "
         "they are to the bit those that never saw what was deleted.",
    holds_if=("accuracy after 8: s3t > sisa", "accuracy after 16: s3t > sisa", "differences: s3t <= 0"),
    arms={"s3t": {"name": "s3t", "options": {"shards": 4, "slices": 4, "orders": 4, "rank": 8, "steps": 40}},
          "sisa": {"name": "sisa", "options": {"shards": 4, "rank": 8, "steps": 640}}},
    methods=("unlearning/s3t", "unlearning/sisa"),
    minutes=4,
)
def s3t(lab: Lab, *, name: str, options: dict[str, int]) -> dict[str, float]:
    x, y, test_x, test_y = lab.digits(lab.scale(1100, 300), lab.scale(697, 64))
    method = build("unlearning", name, options | {"learning_rate": 3e-2} | lab.scale({}, {"steps": 2}))
    base = fit_classifier(network(lab.seed), x[:100], y[:100], Fitting(steps=lab.scale(200, 2)), seed=lab.seed)
    x, y = x[100:], y[100:]
    fitted = method.fit(base, x, y, seed=lab.seed)
    lab.spent(backward=method.shards * method.orders * method.slices * method.steps * method.batch_size)
    found, draws = {"accuracy before": right(fitted, test_x, test_y)}, np.random.default_rng([lab.seed, 1])
    sets = [draws.permutation(len(x))[:max(_LATER)] for _ in range(lab.scale(30, 2))]
    for count in _LATER:
        left = [right(without(fitted, gone[:count]), test_x, test_y) for gone in sets]
        found[f"accuracy after {count}"] = float(np.mean(left))
    gone = sets[0]
    x[gone], y[gone] = 1 - x[gone], (y[gone] + 1) % 10
    other = without(method.fit(base, x, y, seed=lab.seed), gone)
    differences = without(fitted, gone).log_probabilities(test_x) != other.log_probabilities(test_x)
    return {**found, "differences": float(differences.sum())}


def without(fitted: Forgetful, rows: np.ndarray) -> Forgetful:
    """A copy that has forgotten these rows."""
    made = copy.deepcopy(fitted)
    made.forget(rows)
    return made


def network(seed: int) -> nn.Module:
    """Four hidden layers; it begins with what a hundred public rows teach."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                             nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def right(fitted: Forgetful, x: np.ndarray, y: np.ndarray) -> float:
    """Accuracy."""
    return float((fitted.log_probabilities(x).argmax(axis=1) == y).mean())
