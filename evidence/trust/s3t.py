"""A deletion that switches off a slice leaves more than one that switches off a shard."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.domains.vision import Fitting, fit_classifier
from scrimp.evidence import Lab, claim
from scrimp.trust import Forgetful

DELETIONS, STREAMS = 32, 16


@claim(
    papers=(445,),
    says="While rows are deleted at random, one after the other and without any training anew, sharded models whose "
         "slices trained layers of their own, in several orders, are on average over 32 deletions more accurate than "
         "sharded models that lose a shard for each, and have something left for three times as many deletions; and "
         "they are to the bit those that never saw what was deleted.",
    holds_if=("accuracy: s3t > sisa", "deletions survived: s3t > 3 * sisa", "differences: s3t <= 0"),
    arms={"s3t": {"name": "s3t", "options": {"shards": 4, "slices": 4, "orders": 4, "rank": 8, "steps": 40}},
          "sisa": {"name": "sisa", "options": {"shards": 4, "rank": 8, "steps": 640}}},
    search={"learning_rate": (1e-2, 3e-2, 1e-1)}, tuned_for="accuracy", better="higher",
    methods=("unlearning/s3t", "unlearning/sisa"),
    minutes=4,
)
def s3t(lab: Lab, *, name: str, options: dict[str, float], learning_rate: float) -> dict[str, float]:
    x, y, test_x, test_y = lab.digits(lab.scale(1000, 200), lab.scale(797, 64))
    steps = options["steps"] // lab.scale(1, 20)
    method = build("unlearning", name, {**options, "steps": steps, "learning_rate": learning_rate})
    base = pretrained(lab)
    fitted = method.fit(base, x, y, seed=lab.seed)
    lab.spent(backward=method.shards * method.orders * method.slices * method.steps * method.batch_size)
    draws = np.random.default_rng([lab.seed, 1])
    streams = [draws.permutation(len(x)) for _ in range(lab.scale(STREAMS, 2))]
    served = np.array([course(fitted, gone, test_x, test_y) for gone in streams]).mean(axis=0)
    gone = streams[0][:16]
    x[gone], y[gone] = 1 - x[gone], (y[gone] + 1) % 10
    differences = without(fitted, gone).log_probabilities(test_x) != without(
        method.fit(base, x, y, seed=lab.seed), gone).log_probabilities(test_x)
    return {"accuracy": float(served[:-1].mean()), "accuracy before": float(served[0]),
            "accuracy at last": float(served[-2]), "deletions survived": float(served[-1]),
            "differences": float(differences.sum())}


def course(fitted: Any, gone: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[float]:
    """The accuracy at first and after every fourth deletion; and how many deletions leave something in force."""
    left, accuracies, survived = copy.deepcopy(fitted), [], 0
    for count, row in enumerate(gone):
        if count <= DELETIONS and count % 4 == 0:
            accuracies.append(float((left.log_probabilities(x).argmax(axis=1) == y).mean()))
        if count > DELETIONS and not sum(left.in_force):
            break
        left.forget([row])
        survived += bool(sum(left.in_force))
    return [*accuracies, survived]


def without(fitted: Forgetful, rows: np.ndarray) -> Forgetful:
    """A copy that has forgotten these rows."""
    made = copy.deepcopy(fitted)
    made.forget(rows)
    return made


def pretrained(lab: Lab) -> nn.Module:
    """Four hidden layers that know other people's digits, and a fresh head."""
    x, y, _, _ = lab.mnist(lab.scale(4000, 200), 0)
    x = np.ascontiguousarray(x[:, :, 2:26, 2:26].reshape(-1, 1, 8, 3, 8, 3).mean(axis=(3, 5)))
    with torch.random.fork_rng():
        torch.manual_seed(lab.seed)
        body = [layer for _ in range(4) for layer in (nn.Linear(64, 64), nn.ReLU())]
        model = nn.Sequential(nn.Flatten(), *body, nn.Linear(64, 10))
        fit_classifier(model, x, y, Fitting(steps=lab.scale(400, 2)), seed=lab.seed)
        model[-1].reset_parameters()  # type: ignore[operator]
    return model
