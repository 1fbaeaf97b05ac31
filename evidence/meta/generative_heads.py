"""A generative head needs fewer rows, a discriminative one ends up better."""

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

FEW, MANY, DRAWS = 2, 90, 20


@claim(
    papers=(36,),
    says="With two examples a class the diagonal Gaussian head is more accurate than logistic regression, on MiniLM "
         "features of newsgroups and on digits; with ninety a class it is the other way round.",
    holds_if=("newsgroups, few rows: gaussian > logistic", "digits, few rows: gaussian > logistic",
              "digits, many rows: logistic > gaussian", "mnist, many rows: logistic > gaussian"),
    arms={"gaussian": {"head": "diagonal-lda"}, "logistic": {"head": "logistic"},
          "naive-bayes": {"head": "naive-bayes"}},
    methods=("head/diagonal-lda", "head/logistic", "head/naive-bayes"),
    unequal="fitting a head takes no training pass of a model; both see the same rows",
    minutes=4,
)
def generative_heads(lab: Lab, *, head: str) -> dict[str, float]:
    news = lab.features("20newsgroups", lab.scale(10, 2), lab.scale(300, 20))
    digits, mnist = lab.digits(1200, 590), lab.mnist(1500, 1000)
    small = tuple(one.reshape(len(one), -1) if one.ndim > 2 else one for one in digits)
    large = tuple(one[:, :, ::2, ::2].reshape(len(one), -1) if one.ndim > 2 else one for one in mnist)
    few, many = lab.scale(DRAWS, 2), lab.scale(MANY, 10)
    return {"newsgroups, few rows": accuracy(head, news, FEW, few, lab),
            "digits, few rows": accuracy(head, small, FEW, few, lab),
            "digits, many rows": accuracy(head, small, many, 1, lab),
            "mnist, many rows": accuracy(head, large, many, 1, lab)}


def accuracy(name: str, data: tuple[np.ndarray, ...], shots: int, draws: int, lab: Lab) -> float:
    """Mean over draws of so many rows a class."""
    x, y, test_x, test_y = data
    classes, found = int(y.max()) + 1, []
    for draw in range(draws):
        rng = np.random.default_rng([lab.seed, draw])
        rows = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:shots] for c in range(classes)])
        fitted = build("head", name, {"normalise": True}).fit(x[rows], y[rows], classes=classes, seed=lab.seed)
        found.append((fitted.predict(test_x) == test_y).mean())
    return float(np.mean(found))
