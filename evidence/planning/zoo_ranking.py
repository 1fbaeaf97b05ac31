"""Which model of a zoo to take, told by what each says of a few rows."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.heads.logistic import regress

ZOO, QUERIES, KNOWN_EACH, FEW = 40, 20, 4, 8  # models, tasks, digits that each knows or asks of, rows of each asked for
LEARNED, TESTED = 2500, 2000


@claim(
    papers=(480,),
    says="Forty classifiers, each of four of ten handwritten digits, and twenty tasks of four digits with eight rows a "
         "class. The model whose outputs tell the rows apart as their labels do is taken, and the mean outputs of each "
         "class classify the task's unseen rows: it loses under 0.03 of accuracy on the best model, less than half of "
         "what one by chance loses, and less than the one with the most digits in common.",
    holds_if=("regret: alignment < 0.03", "regret: alignment < 0.5 * chance", "regret: alignment < names"),
    arms={"alignment": {"by": "alignment"}, "names": {"by": "names"}, "chance": {"by": "chance"}},
    methods=("ranking/alignment",),
    minutes=1,
)
def zoo_ranking(lab: Lab, *, by: str) -> dict[str, float]:
    """Of models with as many digits in common, one by chance is taken."""
    x, y, test_x, test_y = lab.mnist(LEARNED, TESTED)
    x, test_x = (rows.reshape(len(rows), -1) for rows in (x, test_x))
    zoo = {}
    for number in range(lab.scale(ZOO, 4)):
        digits = np.sort(lab.rng.permutation(10)[:KNOWN_EACH])
        mine = np.isin(y, digits)
        _, weight, bias, _ = regress(x[mine], y[mine], seed=lab.seed, strength=0.1)
        zoo[f"model {number}"] = (digits, weight, bias)
    lost = []
    for _ in range(lab.scale(QUERIES, 2)):
        asked = np.sort(lab.rng.permutation(10)[:KNOWN_EACH])
        picked = np.concatenate([lab.rng.permutation(np.flatnonzero(test_y == digit))[:FEW] for digit in asked])
        unseen = np.setdiff1d(np.flatnonzero(np.isin(test_y, asked)), picked)
        said = {name: _said(test_x[picked], weight, bias) for name, (_, weight, bias) in zoo.items()}
        reached = {name: _by_means(said[name], test_y[picked], _said(test_x[unseen], weight, bias), test_y[unseen])
                   for name, (_, weight, bias) in zoo.items()}
        common = {name: len(np.intersect1d(digits, asked)) + 0.5 * lab.rng.random()
                  for name, (digits, _, _) in zoo.items()}
        if by == "alignment":
            taken = [build("ranking", "alignment").rank(test_y[picked], said).order[0]]  # type: ignore[attr-defined]
        else:
            taken = [max(common, key=common.__getitem__)] if by == "names" else list(zoo)
        lost.append(max(reached.values()) - np.mean([reached[name] for name in taken]))
    return {"regret": float(np.mean(lost))}


def _said(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities of a model's own digits."""
    odds = x @ weight.T + bias
    return odds - np.logaddexp.reduce(odds, axis=1, keepdims=True)


def _by_means(said: np.ndarray, labels: np.ndarray, asked: np.ndarray, true: np.ndarray) -> float:
    digits = np.unique(labels)
    means = np.stack([said[labels == digit].mean(axis=0) for digit in digits])
    nearest = ((asked[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    return float(np.mean(digits[nearest] == true))
