"""A new random subset in each epoch, against the best fixed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from scrimp.data.selection.covering import farthest_first
from scrimp.evidence import Lab, claim
from scrimp.evidence.pixels import accuracy, logits, perceptron, rows
from scrimp.examples.templates import Encoded

SHARE, BATCH = 0.1, 20


@claim(
    papers=(67,),
    says="With a tenth of the examples in each epoch and as many steps, a random subset that is drawn anew for each "
         "epoch gives a higher accuracy than a fixed one, be that random, the hardest by EL2N, or one that covers the "
         "pool.",
    holds_if=("accuracy: rs2 > static", "accuracy: rs2 > hardest", "accuracy: rs2 > covering"),
    arms={"rs2": {"sampling": "rs2"}, "static": {"sampling": "static-subset"},
          "hardest": {"chosen": "hardest"}, "covering": {"chosen": "covering"}},
    search={"learning_rate": (2e-3, 5e-3, 1e-2)}, tuned_for="accuracy", better="higher",
    methods=("sampling/rs2", "sampling/static-subset"),
    unequal="All arms train for as many steps. The hardest are found by a short training and one pass over the pool, "
            "which only that arm needs and which is on its bill.",
    minutes=2,
)
def rs2(lab: Lab, *, learning_rate: float, sampling: str = "shuffle", chosen: str = "") -> dict[str, float]:
    x, y, test_x, test_y = lab.digits(1000, 797)
    pool, test = rows(x, y), rows(test_x, test_y)
    train = [pool[i] for i in hardest(lab, pool, y)] if chosen == "hardest" else (
        [pool[i] for i in farthest_first(x.reshape(len(x), -1).astype(float), round(SHARE * len(x)))[0]]
        if chosen == "covering" else pool)
    share: dict[str, Any] = {} if chosen else {"subset": SHARE}
    model = lab.tune(perceptron(64, 10, seed=lab.seed), train, adapter="full", objective="classify", sampling=sampling,
                     steps=lab.scale(200, 4), batch_size=BATCH, micro_tokens=64 * BATCH, learning_rate=learning_rate,
                     **share)
    return {"accuracy": accuracy(model, test)}


def hardest(lab: Lab, pool: list[Encoded], classes: np.ndarray) -> np.ndarray:
    """The rows of the largest error ``|p - y|`` after a short training on all (Paul et al. 2021, EL2N)."""
    early = lab.tune(perceptron(64, 10, seed=lab.seed), pool, adapter="full", objective="classify",
                     steps=lab.scale(50, 2), batch_size=BATCH, micro_tokens=64 * BATCH, learning_rate=5e-3)
    lab.spent(forward=64 * len(pool))
    errors = softmax(logits(early, pool), axis=1) - np.eye(10)[classes]
    return np.argsort(-np.linalg.norm(errors, axis=1), kind="stable")[:round(SHARE * len(pool))]
