"""MAML finds weights from which a few steps on a new task are enough."""

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.meta import MAML, Episode

SHOTS, TASKS, TRIED = 5, 25, 200
JOINT = 11 / 6  # updates of the joint control for one of MAML: 30 passes of a task against 55


def sinusoid(rng: np.random.Generator) -> Episode:
    """Of any amplitude in [0.1, 5] and phase in [0, pi], at points in [-5, 5]."""
    amplitude, phase = rng.uniform(0.1, 5), rng.uniform(0, np.pi)
    support, query = rng.uniform(-5, 5, (2, 2 * SHOTS, 1)).astype(np.float32)
    support = support[:SHOTS]
    wave = lambda x: (amplitude * np.sin(x - phase)).astype(np.float32)  # noqa: E731
    return Episode(support, wave(support), query, wave(query))


@claim(
    papers=(104,),
    says="On sinusoids of five points, one or five steps of gradient descent from MAML's weights do better than from "
         "weights trained jointly on all tasks at equal cost, and than from random ones.",
    holds_if=("error after 1 step: maml < joint", "error after 5 steps: maml < joint",
              "error after 1 step: maml < random", "error after 5 steps: maml < random"),
    arms={"maml": {"name": "maml"}, "joint": {"name": "joint"}, "random": {"name": None}},
    search={"maml": {"inner_rate": (0.003, 0.01, 0.03), "meta_rate": (5e-3, 1e-2)},
            "joint": {"inner_rate": (0.001, 0.003, 0.01), "meta_rate": (5e-3, 1e-2)},
            "random": {"inner_rate": (0.0003, 0.001, 0.003, 0.006, 0.01, 0.02)}}, tuned_for="error after 5 steps",
    methods=("meta/maml", "meta/joint"),
    unequal="MAML and the joint control are trained at equal cost; random weights take no training, whatever it costs",
    minutes=3,
)
def maml(lab: Lab, *, name: str | None, inner_rate: float, meta_rate: float = 2e-3) -> dict[str, float]:
    torch.manual_seed(lab.seed)
    model = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    updates = lab.scale(400, 5)
    method = build("meta", name or "joint", {
        "inner_rate": inner_rate, "meta_rate": meta_rate, "tasks_per_step": TASKS,
        "meta_steps": round(updates * (JOINT if name == "joint" else 1))})
    if name:
        method.fit(model, sinusoid, seed=lab.seed)
        seen = method.meta_steps * TASKS
        inside = method.inner_steps * SHOTS
        lab.spent(forward=seen * (inside + 2 * SHOTS), backward=seen * (2 * inside + 2 * SHOTS))
    drawn = [sinusoid(np.random.default_rng([lab.seed, 1, n])) for n in range(lab.scale(TRIED, 4))]
    return {f"error after {steps} step{'s' * (steps > 1)}": error(method, model, steps, drawn) for steps in (1, 5)}


def error(method: MAML, model: nn.Module, steps: int, drawn: list[Episode]) -> float:
    """Mean square over new tasks, after so many steps on the support of each."""
    learner = method.model_copy(update={"steps": steps}).learner(model)
    return float(np.mean([(learner.predict(one) - one.query_y) ** 2 for one in drawn]))
