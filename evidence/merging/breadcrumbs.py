"""Dropping both tails of what models have learned lets more of them be merged at one strength."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

TASKS = 4


@claim(
    papers=(268,),
    says="A digit classifier is fine-tuned on four variants of the digits, apart. The strength of each merge is set "
         "for two of them and kept when there are four: without the largest and the smallest entries of each "
         "difference the merge of four is more accurate than plain task arithmetic's.",
    holds_if=("accuracy of four: breadcrumbs > arithmetic", "accuracy of two: breadcrumbs > arithmetic - 0.01"),
    arms={"breadcrumbs": {"keep": "band"}, "arithmetic": {"keep": "all"}},
    search={"scale": (0.6, 0.8, 1.0)},
    tuned_for="accuracy of two", better="higher",
    methods=("merging/breadcrumbs",),
    minutes=4,
)
def breadcrumbs(lab: Lab, *, keep: Literal["band", "all"], scale: float) -> dict[str, float]:
    x, y, test_x, test_y = lab.digits(900, 890)
    torch.manual_seed(lab.seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    base = fit(lab, net, x, y, steps=lab.scale(400, 10))
    experts = []
    for task in range(TASKS):
        net.load_state_dict(base)
        experts.append(fit(lab, net, variant(x, task), y, steps=lab.scale(150, 10)))
    merge = build("merging", "breadcrumbs", {"keep": keep, "scale": scale})

    def accuracy(count: int) -> float:
        """On average over the first ``count`` variants, of the merge of their experts."""
        net.load_state_dict(dict(merge.apply(experts[:count], base=base)))
        found = [net(torch.from_numpy(variant(test_x, task))).argmax(1).numpy() == test_y for task in range(count)]
        return float(np.mean(found))

    return {"accuracy of two": accuracy(2), "accuracy of four": accuracy(4)}


def variant(x: np.ndarray, task: int) -> np.ndarray:
    """The digits turned, moved to the side, moved up, or blurred."""
    made = (ndimage.rotate(x, 30, axes=(2, 3), reshape=False, order=1), np.roll(x, 1, axis=3), np.roll(x, -1, axis=2),
            ndimage.gaussian_filter(x, (0, 0, 1.2, 1.2)))[task]
    return np.ascontiguousarray(made)


def fit(lab: Lab, net: nn.Module, x: np.ndarray, y: np.ndarray, *, steps: int) -> dict[str, torch.Tensor]:
    """Adam on batches of 32; a copy of the weights."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(steps):
        chosen = lab.rng.integers(0, len(x), 32)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x[chosen])), torch.from_numpy(y[chosen])).backward()
        optimizer.step()
    lab.spent(forward=32 * steps, backward=32 * steps)
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}
