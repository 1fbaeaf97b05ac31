"""On redundant data, no backward pass for what is easy, and no forward pass for what looks easy."""

from __future__ import annotations

from typing import Any

import numpy as np

from scrimp.evidence import Lab, claim
from scrimp.evidence.pixels import accuracy, perceptron, rows

BATCH, PASSING, GUESSED = 20, 0.4, 0.3
KEPT = PASSING * (1 - GUESSED)


@claim(
    papers=(161,),
    says="In one pass over redundant data (nine rows of ten are of three easy classes), training only on rows whose "
         "loss is above a running threshold, and measuring only those that a predictor does not find easy, keeps the "
         "accuracy of training on all within a point for half of the work, its own forward passes included, and is "
         "more accurate than skipping as many rows by chance.",
    holds_if=("accuracy: filter > all - 0.01", "accuracy: filter > random", "work: filter < 0.5 * all"),
    arms={"filter": {"sampling": "multistage-filter", "share": KEPT}, "random": {"sampling": "shuffle", "share": KEPT},
          "all": {"sampling": "shuffle", "share": 1.0}},
    search={"learning_rate": (5e-3, 1e-2, 2e-2)}, tuned_for="accuracy", better="higher",
    methods=("sampling/multistage-filter", "sampling/shuffle"),
    unequal="Less work than training on all is the claim. Skipping by chance trains on as many rows as the filter, and "
            "has nothing to measure.",
    minutes=3,
)
def multistage_filter(lab: Lab, *, sampling: str, share: float, learning_rate: float) -> dict[str, float]:
    """Work is in tokens: one for a forward pass, two for a backward one."""
    x, y, test_x, test_y = lab.digits(1000, 797)
    pool = redundant(lab, y, 24_000)
    options: dict[str, Any] = {"passing": PASSING, "guessed": GUESSED} if sampling == "multistage-filter" else {}
    steps = lab.scale(round(share * len(pool) / BATCH), 6)
    model = lab.tune(perceptron(64, 10, seed=lab.seed), rows(shifted(lab, x[pool]), y[pool]), adapter="full",
                     objective="classify", sampling=sampling, steps=steps, batch_size=BATCH, micro_tokens=64 * BATCH,
                     learning_rate=learning_rate, **options)
    bill = lab.meter.bill()
    return {"accuracy": accuracy(model, rows(test_x, test_y)),
            "work": float(bill.tokens_forward + 2 * bill.tokens_backward)}


def redundant(lab: Lab, classes: np.ndarray, count: int) -> np.ndarray:
    """Rows drawn with repetition, nine of ten from the classes 0, 4 and 6."""
    easy = np.isin(classes, (0, 4, 6))
    odds = np.where(easy, 0.9 / easy.sum(), 0.1 / (~easy).sum())
    return lab.rng.choice(len(classes), size=count, p=odds)


def shifted(lab: Lab, images: np.ndarray) -> np.ndarray:
    """Each a little lighter or darker, so that no two are the same."""
    return np.clip(images * lab.rng.uniform(0.7, 1.1, size=(len(images), 1, 1, 1)), 0, 1).astype(np.float32)
