"""Half-way from a robust model to its fine-tuned copy, a model is as good where it was tuned and better elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

Shift = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (x + rng.normal(0, 0.4, x.shape)).astype(np.float32)


def moved(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([np.roll(one, tuple(rng.integers(-1, 2, 2)), (1, 2)) for one in x])


def turned(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([ndimage.rotate(one, rng.uniform(-30, 30), axes=(1, 2), reshape=False, order=1) for one in x])


def dimmed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (x * rng.uniform(0.2, 1, (len(x), 1, 1, 1))).astype(np.float32)


OTHERS: tuple[Shift, ...] = (noisy, moved, turned)


@claim(
    papers=(213,),
    says="A digit classifier that was trained on four kinds of distorted digits and then fine-tuned on one of them "
         "loses robustness; half-way back to where it started it is as accurate on that kind and more accurate on the "
         "others.",
    holds_if=("accuracy as tuned: wise-ft > tuned - 0.005", "accuracy under shift: wise-ft > tuned + 0.02"),
    arms={"wise-ft": {"toward": 0.5}, "tuned": {"toward": 1.0}},
    methods=("merging/wise-ft",),
    minutes=3,
)
def wise_ft(lab: Lab, *, toward: float) -> dict[str, float]:
    found = [once(lab, toward) for _ in range(lab.scale(4, 1))]  # draws of data and weights: 890 test digits are few
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def once(lab: Lab, toward: float) -> dict[str, float]:
    drawn, classes, more, more_classes = lab.digits(900, 890)
    order = lab.rng.permutation(1790)
    digits, labels = np.concatenate([drawn, more])[order], np.concatenate([classes, more_classes])[order]
    x, y, test_x, test_y = digits[:900], labels[:900], digits[900:], labels[900:]
    torch.manual_seed(int(lab.rng.integers(1 << 31)))
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    fit(lab, net, x[:450], y[:450], steps=lab.scale(1200, 20), shifts=(*OTHERS, dimmed))
    base = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fit(lab, net, x[450:], y[450:], steps=lab.scale(300, 10), shifts=(dimmed,))
    net.load_state_dict(dict(build("merging", "wise-ft", {"toward": toward}).apply([net.state_dict()], base=base)))
    return {"accuracy as tuned": accuracy(net, dimmed(test_x, lab.rng), test_y),
            "accuracy under shift": float(np.mean([accuracy(net, shift(test_x, lab.rng), test_y) for shift in OTHERS]))}


def fit(lab: Lab, net: nn.Module, x: np.ndarray, y: np.ndarray, *, steps: int,
        shifts: tuple[Shift, ...]) -> None:
    """Adam on batches of 32, each of them under one of the shifts."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(steps):
        chosen = lab.rng.integers(0, len(x), 32)
        batch = shifts[lab.rng.integers(len(shifts))](x[chosen], lab.rng)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(batch)), torch.from_numpy(y[chosen])).backward()
        optimizer.step()
    lab.spent(forward=32 * steps, backward=32 * steps)


def accuracy(net: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    return float((net(torch.from_numpy(x)).argmax(1).numpy() == y).mean())
