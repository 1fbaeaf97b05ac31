"""A sample of all bins of a graph-cut order is a better coreset than the beginning of the order."""

from __future__ import annotations

import torch
from torch import nn

from scrimp.domains.vision import Fitting, accuracy, fit_classifier
from scrimp.evidence import Lab, claim

STEPS, BATCH = 200, 64


@claim(
    papers=(28,),
    says="Digits kept by dataset quantization, chosen by their pixels, teach a small convolutional network more than "
         "those that graph cut keeps first and than those drawn by chance, with a tenth of the pool and with two "
         "fifths.",
    holds_if=("accuracy from a tenth: quantized > cut", "accuracy from two fifths: quantized > cut",
              "accuracy from a tenth: quantized > random", "accuracy from two fifths: quantized > random"),
    arms={"quantized": {"name": "dataset-quantization"}, "cut": {"name": "graph-cut"}, "random": {"name": "random"},
          "k-center": {"name": "k-center"}, "facility-location": {"name": "facility-location"}},
    methods=("selection/dataset-quantization", "selection/graph-cut", "selection/random", "selection/k-center",
             "selection/facility-location"),
    minutes=2,
)
def dataset_quantization(lab: Lab, *, name: str) -> dict[str, float]:
    """Networks train for as many steps whatever was kept; pixels cost no pass."""
    x, y, test_x, test_y = lab.digits(1200, 597)
    found = {}
    for told, share in (("a tenth", 0.1), ("two fifths", 0.4)):
        kept = lab.selected(name, x.reshape(len(x), -1), round(share * len(x)))
        fitting = Fitting(steps=lab.scale(STEPS, 3), batch_size=BATCH, learning_rate=3e-3)
        student = fit_classifier(network(lab.seed), x[kept], y[kept], fitting, seed=lab.seed)
        lab.spent(forward=fitting.steps * BATCH, backward=fitting.steps * BATCH)
        found[f"accuracy from {told}"] = accuracy(student, test_x, test_y)
    return found


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(128, 10))
