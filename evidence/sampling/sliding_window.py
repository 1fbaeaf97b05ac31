"""Half of the updates, on a window of examples that slides from easy to hard."""

from __future__ import annotations

from typing import Any

from scrimp.evidence import Lab, claim
from scrimp.evidence.pixels import accuracy, perceptron, rows

BATCH = 20


@claim(
    papers=(46,),
    says="A window over clusters of like loss, which slides from easy examples to hard ones, gives with half of the "
         "updates an accuracy within half a point of all of them, and no lower one than as many random examples.",
    holds_if=("accuracy: window > full - 0.005", "accuracy: window >= random"),
    arms={"window": {"sampling": "sliding-window", "share": 0.5}, "random": {"sampling": "rs2", "share": 0.5},
          "full": {"sampling": "shuffle", "share": 1.0}},
    search={"learning_rate": (5e-3, 1e-2, 2e-2)}, tuned_for="accuracy", better="higher",
    methods=("sampling/sliding-window", "sampling/rs2", "sampling/shuffle"),
    unequal="That half of the updates suffice is the claim; the window and the random examples have as many.",
    minutes=3,
)
def sliding_window(lab: Lab, *, sampling: str, share: float, learning_rate: float) -> dict[str, float]:
    x, y, test_x, test_y = lab.digits(1000, 797)
    options: dict[str, Any] = {"subset": share} if sampling == "rs2" else {}
    model = lab.tune(perceptron(64, 10, seed=lab.seed), rows(x, y), adapter="full", objective="classify",
                     sampling=sampling, steps=lab.scale(round(600 * share), 4), batch_size=BATCH,
                     micro_tokens=64 * BATCH, learning_rate=learning_rate, **options)
    return {"accuracy": accuracy(model, rows(test_x, test_y))}
