"""Pruning from a quarter to three quarters of training, and a law in which pruned models count by their average."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.evidence.letters import Letters, learned, loss, stream
from scrimp.planning.curves import Point

WIDTH, BATCH, RATE, SPARSITY = 128, 64, 3e-3, 0.9
DENSE_STEPS = 400  # of the dense model, whose arithmetic all arms have
WIDTHS, LENGTHS, SPARSITIES = (32, 64, 128), (150, 300, 600), (0.5, 0.9)  # of the law's runs


@claim(
    papers=(534,),
    says="A small language model over bytes loses nine tenths of its layers' weights while it is trained, with the "
         "arithmetic of a dense one's training: with pruning from a quarter to three quarters of the steps it ends "
         "better than with pruning in the last quarter, at the very end, or at the start, and within a hundredth of "
         "the dense one. A law of parameters and data, fitted to dense and pruned runs, foretells the longest pruned "
         "runs nearer if parameters are the average over training than if they are those in the end.",
    holds_if=("loss: gradual < late", "loss: gradual < end", "loss: gradual < start", "loss: gradual < 1.01 * dense",
              "lead over final parameters: law > 0"),
    arms={"gradual": {"begins": 0.25, "ends": 0.75}, "late": {"begins": 0.75, "ends": 1.0},
          "end": {"begins": 1.0, "ends": 1.0}, "start": {"begins": 0.0, "ends": 0.0},
          "dense": {"sparsity": 0.0}, "law": {"sparsity": None}},
    methods=("optimizer/gradual-pruning", "curve/average-parameters"),
    unequal="the arms are equal in floating-point operations, not in bytes: what is pruned costs none; and the law is "
            "fitted to runs of its own",
    minutes=3,
)
def average_parameters(lab: Lab, *, begins: float = 0.25, ends: float = 0.75,
                       sparsity: float | None = SPARSITY) -> dict[str, float]:
    if sparsity is None:
        return _law(lab)
    pruned = {"sparsity": sparsity, "pruning_begins": begins, "pruning_ends": ends}
    share = _average(WIDTH, DENSE_STEPS, pruned) / _average(WIDTH, DENSE_STEPS, {"sparsity": 0.0})
    return {"loss": _loss(lab, WIDTH, round(lab.scale(DENSE_STEPS, 10) / share), pruned, "cosine")}


def _law(lab: Lab) -> dict[str, float]:
    """How much nearer the longest pruned runs are foretold by average than by final parameters, in relative error."""
    runs = []
    for length in LENGTHS:
        steps = lab.scale(length, length // 30)
        shapes = [(width, 0.0) for width in WIDTHS] + [(WIDTHS[-1], sparsity) for sparsity in SPARSITIES]
        for width, sparsity in shapes:
            pruned = {"sparsity": sparsity}
            final = Letters(width, 0).size - sparsity * _in_layers(width)
            runs.append((final, _average(width, length, pruned), float(length * BATCH),
                         _loss(lab, width, steps, pruned, "constant"), sparsity > 0 and length == LENGTHS[-1]))
    off = []
    for counted in (0, 1):
        points = [(Point({"average_params": run[counted], "tokens": run[2]}, run[3]), run[4]) for run in runs]
        law = build("curve", "average-parameters").fit([point for point, held in points if not held])
        off.append(np.mean([abs(np.log(law.predict(point.at).value / point.value)) for point, held in points if held]))
    return {"lead over final parameters": float(off[0] - off[1]), "off by average": float(off[1])}


def _loss(lab: Lab, width: int, steps: int, pruned: dict[str, float], schedule: str) -> float:
    model = learned(lab, Letters(width, lab.seed), stream(lab, "train"), steps=steps, batch=BATCH,
                    optimizer="gradual-pruning", learning_rate=RATE, schedule=schedule, **pruned)
    return loss(model, stream(lab, "test"))


def _in_layers(width: int) -> int:
    """Weights that can be pruned."""
    return sum(p.numel() for p in Letters(width, 0).layers.parameters() if p.ndim > 1)


def _average(width: int, steps: int, pruned: dict[str, float]) -> float:
    """Parameters that are not zero, on average over the steps."""
    method = build("optimizer", "gradual-pruning", pruned)
    mean = np.mean([method.share(step, steps) for step in range(steps)]) if pruned["sparsity"] else 0.0
    return float(Letters(width, 0).size - mean * _in_layers(width))
