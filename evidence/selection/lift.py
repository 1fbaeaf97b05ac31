"""Rows that differ and are good teach more than rows that are only good, where an expanded pool repeats itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read

USEFUL = 10  # of twenty newsgroups
VERSIONS = (1, 1, 1, 2, 8)  # of a row, after the expansion; each with a fifth of the rows
BLUR = 0.4  # length of what a version is moved by, where features have length one
KEEP = 200


@claim(
    papers=(288,),
    says="A pool of posts, half of them off topic with labels by chance, is expanded by versions, of some rows many. "
         "A classifier of frozen features learns from 200 rows. Those that are the most like 40 good ones, of the most "
         "various half of the pool, leave it with a lower held-out loss than as many drawn by chance and than the most "
         "like them in all of the pool.",
    holds_if=("loss: lift < random", "loss: lift < quality"),
    arms={"lift": {"name": "lift"}, "quality": {"name": "filter-network"}, "variety": {"name": "variety"},
          "leverage": {"name": "lift", "stages": [{"method": "variety", "options": {"measure": "leverage"}},
                                                  {"method": "filter-network"}]},
          "random": {"name": "random"}},
    methods=("selection/lift", "selection/filter-network", "selection/variety", "selection/random"),
    unequal="all learn from as many rows; what choosing looks at beside is on the bill",
    minutes=1,
)
def lift(lab: Lab, *, name: str, **options: Any) -> dict[str, float]:
    x, y, junk, target, test_x, test_y = expanded(lab)
    vectors = {**{f"pool {i}": row for i, row in enumerate(x)}, **{f"target {i}": row for i, row in enumerate(target)}}
    pool, wanted = (read([{"text": text} for text in vectors if text.startswith(part)]) for part in ("pool", "target"))
    signals: Any = SimpleNamespace(embeddings=lambda rows: np.stack([vectors[row["text"]] for row in rows]))
    method = build("selection", name, options)
    kept = method.select(pool, lab.scale(KEEP, 40), signals=signals, target=wanted, seed=lab.seed).indices
    lab.spent(forward=len(kept) + round(method.cost().forward * len(x)))
    head = build("head", "logistic").fit(x[kept], y[kept], classes=USEFUL, seed=0)
    likely = 0.99 * np.exp(head.log_probabilities(test_x)) + 0.01 / USEFUL  # where a group was left out too
    return {"loss": float(-np.log(likely[np.arange(len(test_y)), test_y]).mean()), "junk": float(junk[kept].mean()),
            "accuracy": float((likely.argmax(axis=1) == test_y).mean())}


def expanded(lab: Lab) -> tuple[np.ndarray, ...]:
    """Features and labels of the pool, which of it is junk, features of the target, and what is tested on."""
    x, groups, test_x, test_groups = lab.features("20newsgroups", lab.scale(60, 16), lab.scale(400, 60))
    numbers = np.argsort(lab.rng.permutation(20))  # the useful groups come first
    y, test_y = numbers[groups], numbers[test_groups]
    good, useful = np.flatnonzero(y < USEFUL), test_y < USEFUL
    target, rest = good[:lab.scale(40, 10)], good[lab.scale(40, 10):]
    rows = lab.rng.permutation(np.concatenate([rest, np.flatnonzero(y >= USEFUL)]))
    labels = np.where(y[rows] < USEFUL, y[rows], lab.rng.integers(USEFUL, size=len(rows)))
    of = np.repeat(np.arange(len(rows)), lab.rng.choice(VERSIONS, size=len(rows)))
    moved = x[rows[of]] + lab.rng.normal(size=(len(of), x.shape[1])) * BLUR / x.shape[1] ** 0.5
    return (moved.astype(np.float32), labels[of], y[rows[of]] >= USEFUL, x[target], test_x[useful], test_y[useful])
