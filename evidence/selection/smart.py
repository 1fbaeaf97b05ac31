"""Tasks get budgets by what each adds to a cover of all of them, and within each what covers it is kept."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.data.selection.quotas import quotas
from scrimp.evidence import Lab, claim

DISTINCT, REPEATED, WORDS = 8, 4, 60
STEPS, BATCH, LENGTH = 64, 8, 64


@claim(
    papers=(147,),
    says="Of twelve tasks, nine newsgroups of which one comes in four parts, a quarter of the rows is kept to train a "
         "small language model from nothing. With budgets by graph cut over the tasks and facility location within "
         "them it does better on all groups alike than with equal budgets, and with these better than by size.",
    holds_if=("loss: smart < equal", "loss: equal < proportional"),
    arms={"smart": {"quota": "graph-cut", "within": "facility-location"},
          "equal": {"quota": "equal", "within": "random"}, "proportional": {"quota": "size", "within": "random"},
          "equal, covered": {"quota": "equal", "within": "facility-location"},
          "smart, drawn": {"quota": "graph-cut", "within": "random"}},
    methods=("selection/smart",),
    unequal="embeddings of the pool by MiniLM are a pass over it, which draws do without; all train for as many steps",
    minutes=4,
)
def smart(lab: Lab, *, quota: str, within: str) -> dict[str, float]:
    """The parts of the repeated group are as large as the largest of the others, which differ in size."""
    texts, vectors, tasks, groups = twelve(lab)
    method = build("selection", "smart", {"quota": quota, "within": within})
    dealt = method.grouped(vectors, [f"{task:02}" for task in tasks])
    shares = quotas(method.shares(vectors, dealt), np.bincount(tasks), len(texts) // 4)
    if quota == "graph-cut" or within == "facility-location":
        lab.spent(forward=len(texts) * LENGTH)
    kept = method.choose(vectors, dealt, shares, seed=lab.seed)
    steps = lab.scale(STEPS, 2)
    blocks = lab.blocks([texts[i] for i in kept], LENGTH)
    model = lab.tune(lab.scratch(layers=2, width=64), blocks, adapter="full", learning_rate=8e-3, steps=steps,
                     batch_size=BATCH)
    test = [row for group in groups for row in lab.blocks(lab.texts(group, "test"), LENGTH, lab.scale(24, 2))]
    return {"loss": lab.loss(model, test),
            "share of the repeated": float((tasks[kept] >= DISTINCT).mean())}


def twelve(lab: Lab) -> tuple[list[str], np.ndarray, np.ndarray, list[str]]:
    """Texts with features, the task of each, and the nine groups; the last four tasks are one group in parts."""
    most = lab.scale(60, 12)
    all_texts, labels, *_ = lab.classes("20newsgroups", most, lab.scale(400, 40))
    x, *_ = lab.features("20newsgroups", most, lab.scale(400, 40))
    names = lab.domains()
    groups = [*lab.unseen, *(name for name in lab.rng.permutation(names).tolist() if name not in lab.unseen)]
    groups = [*groups[1:DISTINCT + 1], groups[0]]
    sizes = [*np.geomspace(most // 4, most // 2, DISTINCT).round().astype(int).tolist(), most]
    rows, tasks = [], []
    for task, (group, size) in enumerate(zip(groups, sizes, strict=True)):
        own = lab.rng.permutation(np.flatnonzero(labels == names.index(group)))[:size]
        rows.append(own)
        tasks.append(np.full(size, task) if task < DISTINCT else DISTINCT + np.arange(size) % REPEATED)
    chosen = np.concatenate(rows)
    return [" ".join(all_texts[i].split()[:WORDS]) for i in chosen], x[chosen], np.concatenate(tasks), groups
