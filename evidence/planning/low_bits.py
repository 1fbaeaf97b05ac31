"""What rounding costs a network grows with the rows it saw, and falls with its size and with the bits."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.planning.curves import points
from scrimp.surgery.compression.rounding import rounded

WIDTHS, BITS = (16, 32, 64), (2, 3, 4)
BATCH, LOOKS = 32, (50, 100, 200, 400, 800)  # steps after which each is looked at
NETWORKS, LEAST = 5, 1e-3  # of each width, whose mean is taken; a rise of the loss that counts as one


@claim(
    papers=(77,),
    says="Small networks of three widths, five of each, learn handwritten digits, are looked at five times, and their "
         "weights rounded to 2, 3 and 4 bits: the rise of the loss grows with the rows seen and falls with parameters "
         "and bits; a product of powers of the three explains over four fifths of its logarithm's variance. Fitted to "
         "all but the last look, it foretells the last better than a law of bits alone.",
    holds_if=("power of rows: law > 0", "power of parameters: law < 0", "power of bits: law < 0",
              "explained: law > 0.8", "lead over bits alone: law > 0"),
    arms={"law": {}},
    methods=("curve/quantization", "compression/rtn"),
    minutes=1,
)
def low_bits(lab: Lab) -> dict[str, float]:
    x, y, test_x, test_y = (torch.from_numpy(part) for part in lab.mnist(3500, 1500))
    seen: dict[str, list[float]] = {"tokens": [], "params": [], "bits": []}
    risen = []
    for width in WIDTHS:
        several = [_looks(lab, width, x.flatten(1), y) for _ in range(lab.scale(NETWORKS, 1))]
        for look, (steps, network) in enumerate(several[0]):
            params = sum(tensor.numel() for tensor in network.parameters())
            for bits in BITS:
                models = [looks[look][1] for looks in several]
                rise = [_loss(_rounded(model, bits), test_x, test_y) - _loss(model, test_x, test_y) for model in models]
                risen.append(max(float(np.mean(rise)), LEAST))
                for name, value in (("tokens", steps * BATCH), ("params", params), ("bits", bits)):
                    seen[name].append(float(value))
    at = np.stack([np.ones(len(risen)), *(np.log(column) for column in seen.values())], axis=1)
    powers = np.linalg.lstsq(at, np.log(risen), rcond=None)[0]
    left = np.var(np.log(risen) - at @ powers) / np.var(np.log(risen))
    return {"power of rows": powers[1], "power of parameters": powers[2], "power of bits": powers[3],
            "explained": 1 - float(left), "lead over bits alone": _lead(seen, np.array(risen))}


def _looks(lab: Lab, width: int, x: torch.Tensor, y: torch.Tensor) -> list[tuple[int, nn.Module]]:
    """A network as it is after so many steps; rows are drawn anew for each."""
    with torch.random.fork_rng():
        torch.manual_seed(int(lab.rng.integers(2**31)))
        model = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                              nn.Linear(width, 10))
    optimizer, found = torch.optim.Adam(model.parameters(), lr=2e-3), list[tuple[int, nn.Module]]()
    for step in range(1, lab.scale(LOOKS[-1], LOOKS[1]) + 1):
        rows = torch.from_numpy(lab.rng.integers(len(x), size=BATCH))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        if step in LOOKS:
            found.append((step, copy.deepcopy(model)))
    return found


def _rounded(model: nn.Module, bits: int) -> nn.Module:
    made = copy.deepcopy(model)
    for layer in made.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = rounded(layer.weight.data, bits)
    return made


def _loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.inference_mode():
        return float(nn.functional.cross_entropy(model(x.flatten(1)), y))


def _lead(seen: dict[str, list[float]], risen: np.ndarray) -> float:
    """By how much a law of bits alone is further off at the last look, in mean distance of logarithms."""
    last = np.array(seen["tokens"]) == max(seen["tokens"])
    off = []
    for terms in (("tokens^b params^-a bits^-g",), ("bits^-g",)):
        names = [name for name in seen if any(name in term for term in terms)]
        law = build("curve", "quantization", {"terms": terms}).fit(
            points(risen[~last], **{name: np.array(seen[name])[~last] for name in names}))
        told = [law.predict({name: seen[name][i] for name in names}).value for i in np.flatnonzero(last)]
        off.append(float(np.mean(np.abs(np.log(told / risen[last])))))
    return off[1] - off[0]
