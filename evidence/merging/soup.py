"""The mean of workers that never talked is better than each of them, and as good as one run on all they saw."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

WORKERS, BATCH, PRETRAINED = 4, 16, 1000  # of 3,000 digits, the rest is what the workers share
How = Literal["soup", "alone", "together"]


@claim(
    papers=(218,),
    says="Four workers fine-tune a digit classifier on a quarter of the data each, without a word between them: the "
         "mean of their weights is more accurate than they are on average, and as accurate, to half a point, as one "
         "run with four times the batch on all of the data.",
    holds_if=("accuracy: lo-fi > workers", "accuracy: lo-fi > synced - 0.005"),
    arms={"lo-fi": {"how": "soup"}, "workers": {"how": "alone"}, "synced": {"how": "together"}},
    search={"lo-fi": {"learning_rate": (2e-3, 4e-3, 8e-3)}, "workers": {"learning_rate": (1.25e-4, 2.5e-4, 5e-4)},
            "synced": {"learning_rate": (2e-3, 4e-3, 8e-3)}},
    tuned_for="accuracy", better="higher",
    methods=("merging/soup",),
    minutes=5,
)
def soup(lab: Lab, *, how: How, learning_rate: float) -> dict[str, float]:
    repeats = lab.scale(4, 1)  # draws of data and weights, so that one seed's score is no accident
    return {"accuracy": float(np.mean([once(lab, how, learning_rate) for _ in range(repeats)]))}


def once(lab: Lab, how: How, learning_rate: float) -> float:
    pixels, digits, more, more_digits = lab.mnist(3000, 2000)
    order = lab.rng.permutation(5000)
    x, y = halved(np.concatenate([pixels, more]))[order], np.concatenate([digits, more_digits])[order]
    test_x, test_y = x[3000:], y[3000:]
    torch.manual_seed(int(lab.rng.integers(1 << 31)))
    net = nn.Sequential(nn.Flatten(), nn.Linear(196, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
                        nn.Linear(128, 10))
    base = fit(lab, net, x[:PRETRAINED], y[:PRETRAINED], steps=lab.scale(400, 10), batch=32, learning_rate=1e-3)
    parts = np.array_split(np.arange(PRETRAINED, 3000), 1 if how == "together" else WORKERS)
    models = []
    for part in parts:
        net.load_state_dict(base)
        models.append(fit(lab, net, x[part], y[part], steps=lab.scale(120, 10), batch=BATCH * WORKERS // len(parts),
                          learning_rate=learning_rate))
    models = [dict(build("merging", "soup").apply(models))] if how == "soup" else models
    return float(np.mean([accuracy(net, model, test_x, test_y) for model in models]))


def halved(x: np.ndarray) -> np.ndarray:
    """[N, 1, 14, 14] from [N, 1, 28, 28]: means of four pixels."""
    return np.ascontiguousarray(x.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)), dtype=np.float32)


def fit(lab: Lab, net: nn.Module, x: np.ndarray, y: np.ndarray, *, steps: int, batch: int,
        learning_rate: float) -> dict[str, torch.Tensor]:
    """Train ``net`` and give a copy of its weights."""
    optimizer = torch.optim.Adam(net.parameters(), learning_rate)
    for _ in range(steps):
        chosen = lab.rng.integers(0, len(x), batch)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x[chosen])), torch.from_numpy(y[chosen])).backward()
        optimizer.step()
    lab.spent(forward=batch * steps, backward=batch * steps)
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def accuracy(net: nn.Module, weights: dict[str, torch.Tensor], x: np.ndarray, y: np.ndarray) -> float:
    net.load_state_dict(weights)
    return float((net(torch.from_numpy(x)).argmax(1).numpy() == y).mean())
