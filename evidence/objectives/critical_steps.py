"""Of a trajectory, learn the steps that the model is not sure of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

STEPS, BATCH, SHARE = 16, 16, 0.3
CLUES, JUNCTIONS, TURNS = 6, 6, 4
CLUE, JUNCTION, TURN, CORRIDOR, FORWARD, VOCABULARY = 2, 8, 14, 18, 19, 20  # where tokens begin


@claim(
    papers=(219,),
    says="An agent walks through corridors and turns at junctions as a clue at the start tells. Trained on the three "
         "tenths of the steps that a briefly trained model is least sure of, it finds its way on new walks at least as "
         "often as when it is trained on all steps, and more often than on as many random ones.",
    holds_if=("success: critical >= all", "success: critical > random"),
    arms={"critical": {"objective": "critical-steps"}, "all": {}, "random": {"share": SHARE}},
    search={"learning_rate": (2e-3, 4e-3, 8e-3)}, tuned_for="success", better="higher",
    methods=("objective/critical-steps", "objective/sft"),
    unequal="All arms train for as many steps on the same sequences. The critical steps are found by one forward pass, "
            "which is on that arm's bill.",
    minutes=4,
)
def critical_steps(lab: Lab, *, learning_rate: float, objective: str = "sft", share: float = 1.0) -> dict[str, float]:
    table = lab.rng.integers(TURNS, size=(CLUES, JUNCTIONS))
    first, train, test = (walks(lab, table, lab.scale(count, 8)) for count in (200, 800, 200))
    plan: dict[str, Any] = {"adapter": "full", "batch_size": BATCH, "learning_rate": learning_rate}
    started = lab.tune(lab.scratch(layers=2, width=64, vocabulary=VOCABULARY), first, steps=lab.scale(15, 2), **plan)
    masked = [replace(walk, trained=[on and bool(lab.rng.random() < share) for on in walk.trained]) for walk in train]
    chosen = {"critical": SHARE} if objective == "critical-steps" else {}
    model = lab.tune(started, masked, objective=objective, steps=lab.scale(150, 2), **plan, **chosen)
    return {"success": success(model, test)}


def walks(lab: Lab, table: np.ndarray, count: int) -> list[Encoded]:
    """A clue, then of each step what is seen and what is done, which is learned; a quarter of the steps are turns."""
    made = []
    for row in range(count):
        clue, turns = int(lab.rng.integers(CLUES)), lab.rng.choice(STEPS, size=STEPS // 4, replace=False)
        told = np.tile([CORRIDOR, FORWARD], (STEPS, 1))
        seen = lab.rng.integers(JUNCTIONS, size=len(turns))
        told[turns] = np.stack([JUNCTION + seen, TURN + table[clue, seen]], axis=1)
        made.append(Encoded([1, CLUE + clue, *told.ravel().tolist()], [False, False] + [False, True] * STEPS, row=row))
    return made


def success(model: nn.Module, test: list[Encoded]) -> float:
    """Share of the walks in which every step is right, each after the right ones before it."""
    ids = torch.tensor([walk.ids for walk in test])
    acts = torch.tensor([walk.trained for walk in test])[:, 1:]
    with torch.inference_mode():
        done = model(input_ids=ids).logits.argmax(dim=-1)[:, :-1]
    return float(((done == ids[:, 1:]) | ~acts).all(dim=1).float().mean())
