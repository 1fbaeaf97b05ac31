"""Clusters whose rows teach nothing fade from one round of selection to the next."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.data.selection.cells import Cells
from scrimp.data.selection.clusters import Clusters, reweighted
from scrimp.data.selection.quotas import quotas
from scrimp.evidence import Lab, claim
from scrimp.tuning.heads.base import FittedHead

USEFUL, ROUNDS, EACH, CLUSTERS = 14, 4, 80, 24


@claim(
    papers=(55,),
    says="Six of twenty newsgroups of a pool bear labels by chance. Rows are drawn in four rounds from clusters, "
         "within each by quality. Where a cluster's weight follows what the classifier of the last round knows of its "
         "rows, the share of junk that is drawn falls, and the classifier ends better than on as many rows drawn by "
         "chance and no worse than with fixed weights.",
    holds_if=("fall of junk: iterative > 0", "accuracy: iterative > random", "accuracy: iterative >= fixed - 0.01",
              "accuracy: fixed > random"),
    arms={"iterative": {"weights": "iterative"}, "fixed": {"weights": "fixed"},
          "evenly": {"weights": "fixed", "by_quality": False},
          "iterative, evenly": {"weights": "iterative", "by_quality": False}, "random": {"weights": "none"}},
    methods=("selection/kmq",),
    unequal="quality and the weights of clusters come from a pass of the last classifier over frozen features, which "
            "chance does without; all learn from as many rows",
    minutes=2,
)
def kmq(lab: Lab, *, weights: str, by_quality: bool = True) -> dict[str, float]:
    """Of the first round nothing is known, so its rows are drawn evenly within clusters."""
    x, y, junk, test_x, test_y = polluted(lab)
    method = build("selection", "kmq", {"clusters": 1 if weights == "none" else lab.scale(CLUSTERS, 6)})
    groups = method.grouped(x, seed=lab.seed)
    by_size = np.bincount(groups.of) / len(x)
    shares = np.full(len(by_size), 1 / len(by_size)) if weights == "iterative" else by_size
    kept, quality, found = np.zeros(0, dtype=int), np.ones(len(x)), []
    for turn in range(ROUNDS):
        left = np.setdiff1d(np.arange(len(x)), kept)
        drawn = left[chosen(method, x[left], Cells(groups.of[left], groups.centroids), shares, quality[left],
                            lab.seed + 100 * turn, lab.scale(EACH, 20))]
        kept, found = np.concatenate([kept, drawn]), [*found, float(junk[drawn].mean())]
        head = learned(x[kept], y[kept])
        lab.spent(forward=len(kept))
        if weights == "none":
            continue
        lab.spent(forward=len(x))
        known = np.exp(head.log_probabilities(x))
        knows = known[np.arange(len(x)), y] / known.max(axis=1)
        quality = knows if by_quality else quality
        if weights == "iterative":
            shares = reweighted(shares, of_unseen(knows, groups, np.setdiff1d(left, drawn)))
    return {"accuracy": float((head.predict(test_x) == test_y).mean()), "fall of junk": found[0] - found[-1],
            **{f"junk in round {turn + 1}": share for turn, share in enumerate(found)}}


def polluted(lab: Lab) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features and labels of a pool, whether each row's label is by chance, and a test of the useful groups alone."""
    x, groups, test_x, test_groups = lab.features("20newsgroups", lab.scale(60, 12), lab.scale(400, 40))
    numbers = np.argsort(lab.rng.permutation(20))  # the useful groups come first
    y, test_y = numbers[groups], numbers[test_groups]
    junk = y >= USEFUL
    return x, np.where(junk, lab.rng.integers(USEFUL, size=len(y)), y), junk, test_x[test_y < USEFUL], \
        test_y[test_y < USEFUL]


def chosen(method: Clusters, x: np.ndarray, groups: Cells, shares: np.ndarray, quality: np.ndarray, seed: int,
           keep: int) -> np.ndarray:
    sizes = np.bincount(groups.of, minlength=len(shares))
    return method.choose(x, groups, quotas(shares, sizes, keep), quality=quality, seed=seed)


def of_unseen(quality: np.ndarray, groups: Cells, rows: np.ndarray) -> np.ndarray:
    """The mean quality of each cluster's rows that the classifier has not learned; 0 where all were."""
    count = np.bincount(groups.of[rows], minlength=len(groups.centroids))
    return np.bincount(groups.of[rows], quality[rows], len(count)) / np.maximum(1, count)


def learned(x: np.ndarray, y: np.ndarray) -> FittedHead:
    return build("head", "logistic").fit(x, y, classes=USEFUL, seed=0)
