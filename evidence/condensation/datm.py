"""Few made-up examples are best matched to what experts learn early, and more of them to what they learn late."""

from __future__ import annotations

import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.domains.vision import Fitting, accuracy, fit_classifier
from scrimp.evidence import Lab, claim


@claim(
    papers=(20,),
    says="Digits condensed by trajectory matching teach more than real ones: with one a class, if the early steps of "
         "experts are matched, with twenty, if the late ones are; aligned with their number and softly labelled they "
         "teach more than those of plain trajectory matching.",
    holds_if=("accuracy from 1: early > late", "accuracy from 20: late > early",
              "accuracy from 1: aligned > plain", "accuracy from 20: aligned > plain",
              "accuracy from 1: aligned > real", "accuracy from 20: aligned > real"),
    arms={"aligned": {"name": "datm"}, "early": {"name": "datm", "stage": "early"},
          "late": {"name": "datm", "stage": "late"}, "plain": {"name": "mtt"}, "real": {"name": "real-rows"}},
    search={"input_rate": (0.01, 0.03)}, tuned_for="mean accuracy", better="higher",
    methods=("condensation/datm", "condensation/mtt", "condensation/real-rows"),
    unequal="Real rows are not trained on before; those that are condensed take the same passes over the data among "
            "themselves.",
    minutes=4,
)
def datm(lab: Lab, *, name: str, input_rate: float, **options: str) -> dict[str, float]:
    """The experts learn slowly, so that their early steps and their late ones know different things."""
    x, y, test_x, test_y = lab.digits(lab.scale(1000, 400), lab.scale(797, 64))
    method = build("condensation", name, {} if name == "real-rows" else {
        **options, "input_rate": input_rate, "expert_rate": 0.01, "iterations": lab.scale(150, 3),
        "epochs": lab.scale(20, 4)})
    found = {}
    for count in (1, 20):
        made = method.condense(x, y, count, seed=lab.seed)
        lab.spent(backward=round(method.cost().backward * len(x)))
        fitting = Fitting(steps=lab.scale(300, 3), batch_size=200, learning_rate=3e-3)
        student = fit_classifier(network(lab.seed), made.inputs, made.targets, fitting, seed=lab.seed)
        found[f"accuracy from {count}"] = accuracy(student, test_x, test_y)
    return {**found, "mean accuracy": sum(found.values()) / 2}


def network(seed: int) -> nn.Module:
    """One hidden layer, as the experts have."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
