"""The best rows that are not alike teach more than the best rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.signals import Signals

CHARACTERS, LENGTH, BATCH, STEPS = 200, 64, 8, 40
POSTS, COPIES, JUNK, KEPT = 100, 4, 150, 60  # COPIES of a quarter of the posts


@claim(
    papers=(220,),
    says="In a pool are posts of newsgroups that a small language model does not know, a quarter of them in four "
         "versions of a few words' difference, and as many rows of words by chance. An eighth of it is kept: the "
         "best by a classifier of quality that are not near to each other teach the model more than the best, than "
         "those that cover the pool, than the longest, and than rows by chance, drawn once or anew.",
    holds_if=("loss: deita < best", "loss: deita < cover", "loss: deita < longest", "loss: deita < random",
              "loss: deita < redrawn"),
    arms={"deita": {"name": "deita"}, "best": {"name": "filter-network"}, "cover": {"name": "k-center"},
          "longest": {"name": "longest"}, "random": {"name": "random"}, "redrawn": {"name": "random", "draws": 2}},
    methods=("selection/deita", "selection/filter-network", "selection/k-center", "selection/longest",
             "selection/random"),
    unequal="the model is tuned as long in all arms; what scoring costs beside is on the bill",
    minutes=3,
)
def deita(lab: Lab, *, name: str, draws: int = 1, **options: Any) -> dict[str, float]:
    posts = [text for group in lab.unseen for text in lab.texts(group) if len(text) > CHARACTERS]
    drawn = lab.rng.permutation(posts).tolist()
    count = lab.scale(POSTS, 12)
    pool = pooled(lab, drawn[:count], lab.scale(JUNK, 12))
    target = read([{"text": text[:CHARACTERS]} for text in drawn[count:2 * count]])
    signals = Signals(meter=lab.meter)
    kept = [build("selection", name, options).select(pool, lab.scale(KEPT, 6), signals=signals, target=target,
                                                     seed=lab.seed + 100 * n).indices for n in range(draws)]
    blocks = [block for rows in kept for block in lab.blocks([pool.rows[i]["text"] for i in rows], LENGTH)]
    model = lab.tune(lab.language_model(), blocks, adapter="full", learning_rate=2e-3, steps=lab.scale(STEPS, 2),
                     batch_size=BATCH)
    test = lab.blocks([text for group in lab.unseen for text in lab.texts(group, "test")], LENGTH, lab.scale(120, 8))
    sources = [pool.sources[i] for i in kept[0]]
    return {"loss": lab.loss(model, test), "posts": len({source for source in sources if source != "junk"})}


def pooled(lab: Lab, posts: list[str], junk: int) -> Examples:
    """The posts, the first of them several times with some words left out, and rows of words by chance."""
    words = np.unique(" ".join(posts).split())
    texts, sources = [], []
    for number, post in enumerate(posts):
        for _ in range(COPIES if number < len(posts) // 4 else 1):
            cut = post[:lab.rng.integers(CHARACTERS // 2, CHARACTERS)]
            texts.append(" ".join(word for word in cut.split() if lab.rng.random() > 0.05))
            sources.append(f"post:{number}")
    texts += [" ".join(lab.rng.choice(words, 60))[:lab.rng.integers(CHARACTERS // 2, CHARACTERS)]
              for _ in range(junk)]
    pool = read([{"text": text} for text in texts])
    return Examples(pool.rows, pool.layout, (*sources, *["junk"] * junk)).subset(lab.rng.permutation(len(texts)))
