"""For the same arithmetic, a deep model stacked from a trained shallow one is better than one from nothing."""

from __future__ import annotations

from typing import Any

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

WIDTH, SHALLOW, FACTOR, BLOCK, BATCH = 96, 2, 3, 64, 8
FIRST, THEN = 200, 120  # steps of the shallow and of the grown model


@claim(
    papers=(567,),
    says="A decoder of two layers is trained, stacked to six and trained on: within the floating-point operations that "
         "one of six layers takes from nothing, it reaches a lower loss.",
    holds_if=("loss: stack < scratch",),
    arms={"stack": {"growth": "stack"}, "scratch": {"growth": None}},
    methods=("growth/stack",),
    unequal="the arms are equal in floating-point operations, not in tokens: a step of the shallow model is cheaper",
    minutes=10,
)
def stacking(lab: Lab, *, growth: str | None) -> dict[str, float]:
    rows = lab.blocks(lab.texts(), length=BLOCK, count=BATCH * 2 * (FIRST + THEN))
    held_out = lab.blocks(lab.texts(part="test"), length=BLOCK, count=lab.scale(64, 4))
    plan: dict[str, Any] = {"adapter": "full", "batch_size": BATCH, "learning_rate": 3e-3}
    shallow, deep = (lab.scratch(layers=layers, width=WIDTH) for layers in (SHALLOW, SHALLOW * FACTOR))
    if growth is None:
        steps = round(FIRST * size(shallow) / size(deep)) + THEN
        return {"loss": lab.loss(lab.tune(deep, rows, steps=lab.scale(steps, 2), **plan), held_out)}
    small = lab.tune(shallow, rows[: BATCH * FIRST], steps=lab.scale(FIRST, 2), **plan)
    grown = build("growth", growth, {"factor": FACTOR}).grow(small, seed=lab.seed)
    return {"loss": lab.loss(lab.tune(grown, rows[BATCH * FIRST:], steps=lab.scale(THEN, 2), **plan), held_out)}


def size(model: Any) -> int:
    """Weights that a token is multiplied by; those of the embeddings, at the output."""
    return sum(parameter.numel() for parameter in model.parameters())
