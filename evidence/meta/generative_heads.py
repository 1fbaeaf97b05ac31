"""A generative head needs fewer rows, a discriminative one ends up better."""

from typing import Any

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

FEW, MANY, DRAWS = 2, 90, 12
HUGE = 1e5  # a strength that leaves no penalty to speak of


@claim(
    papers=(36,),
    says="With two examples a class the diagonal Gaussian head is more accurate than logistic regression, on MiniLM "
         "features of newsgroups and on digits, even more so if that has no penalty; with ninety a class it is the "
         "other way round.",
    holds_if=("newsgroups, few rows: gaussian > logistic", "digits, few rows: gaussian > logistic",
              "newsgroups, few rows: gaussian > unpenalised", "digits, few rows: gaussian > unpenalised",
              "digits, many rows: logistic > gaussian", "mnist, many rows: logistic > gaussian"),
    arms={"gaussian": {"head": "diagonal-lda"}, "naive-bayes": {"head": "naive-bayes"},
          "logistic": {"head": "logistic"}, "unpenalised": {"head": "logistic", "strength": HUGE}},
    search={"normalise": (True, False)}, tuned_for="mean accuracy", better="higher",
    methods=("head/diagonal-lda", "head/logistic", "head/naive-bayes"),
    unequal="fitting a head takes no training pass of a model; all see the same rows",
    minutes=3,
)
def generative_heads(lab: Lab, *, head: str, normalise: bool, strength: float | None = None) -> dict[str, float]:
    options: dict[str, Any] = {"normalise": normalise, **({"strength": strength} if strength else {})}
    news = lab.features("20newsgroups", lab.scale(10, 2), lab.scale(300, 20))
    digits, mnist = lab.digits(1200, 590), lab.mnist(1500, 1000)
    small = tuple(one.reshape(len(one), -1) if one.ndim > 2 else one for one in digits)
    large = tuple(one[:, :, ::2, ::2].reshape(len(one), -1) if one.ndim > 2 else one for one in mnist)
    few, many = lab.scale(DRAWS, 2), lab.scale(MANY, 10)
    found = {"newsgroups, few rows": accuracy(head, options, news, FEW, few, lab),
             "digits, few rows": accuracy(head, options, small, FEW, few, lab),
             "digits, many rows": accuracy(head, options, small, many, 1, lab),
             "mnist, many rows": accuracy(head, options, large, many, 1, lab)}
    return {**found, "mean accuracy": sum(found.values()) / len(found)}


def accuracy(name: str, options: dict[str, Any], data: tuple[np.ndarray, ...], shots: int, draws: int,
             lab: Lab) -> float:
    """Mean over draws of so many rows a class."""
    x, y, test_x, test_y = data
    classes, found = int(y.max()) + 1, []
    for draw in range(draws):
        rng = np.random.default_rng([lab.seed, draw])
        rows = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:shots] for c in range(classes)])
        fitted = build("head", name, options).fit(x[rows], y[rows], classes=classes, seed=lab.seed)
        found.append((fitted.predict(test_x) == test_y).mean())
    return float(np.mean(found))
