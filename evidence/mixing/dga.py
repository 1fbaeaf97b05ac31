"""Domains are weighed by how far their gradients go the way of a few examples of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scrimp.data.mixing import gathered
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

LIKE = "soc.religion.christian"  # the domain that the target's rows are of
LENGTH, BATCH, STEPS = 32, 8, 200
RATE = 2e-3
ROWS, FEW = 100, 24  # of each domain, and of the target
LOOKS, PROBES = 5, 8
LOOKED = LOOKS * PROBES * (len(Lab.unseen) + 1) // BATCH  # what the looks take, in steps


@claim(
    papers=(95,),
    says="A small language model goes on to train on 100 rows each of five newsgroups that it has not seen, for the "
         "sake of a target of which 24 more rows are known. Weighed by the alignment of their gradients with those "
         "rows' five times in a run, the groups teach more about it than evenly mixed, mixed once by which group each "
         "of those rows resembles most, or than those rows alone, with all looks on the bill.",
    holds_if=("target loss: dga < uniform", "target loss: dga < importance", "target loss: dga < target-only"),
    arms={"dga": {"how": "dga"}, "uniform": {"how": "uniform"}, "importance": {"how": "importance"},
          "target-only": {"how": "target-only"}},
    methods=("mixing/dga", "sampling/mixture"),
    minutes=4,
)
def dga(lab: Lab, *, how: str) -> dict[str, float]:
    pools = {name: lab.blocks(lab.texts(name), LENGTH, ROWS + FEW) for name in lab.unseen}
    few = pools[LIKE][ROWS:]
    pools = {name: pool[:ROWS] for name, pool in pools.items()}
    rows, domains = gathered({**pools, "target": few[:FEW * 2 // 3] if how == "target-only" else few})
    model = lab.language_model(layers=2, width=64, share=0.5)
    mixed: dict[str, Any] = {
        "dga": {"mixing": "dga", "mixing_options": {"looks": lab.scale(LOOKS, 1)}, "probes": lab.scale(PROBES, 1),
                "toward": "target"},
        "uniform": {"mixing": "uniform", "toward": "target"},
        "importance": {"mixing": "fixed", "mixing_options": {"favoured": resembled(lab, pools, few)},
                       "toward": "target"},
        "target-only": {"mixing": "fixed", "mixing_options": {"favoured": "target"}, "validate_every": 10,
                        "validate": lambda: lab.loss(model, few[FEW * 2 // 3:])}}[how]  # or it knows them by heart
    steps = lab.scale(STEPS, 6) - (lab.scale(LOOKED, 1) if how == "dga" else 0)
    model = lab.tune(model, rows, adapter="full", learning_rate=RATE, steps=steps,
                     batch_size=BATCH, sampling="mixture", domains=domains, **mixed)
    return {"target loss": lab.loss(model, lab.blocks(lab.texts(LIKE, "test"), LENGTH, lab.scale(120, 4)))}


def resembled(lab: Lab, pools: Mapping[str, Sequence[Encoded]], few: Sequence[Encoded]) -> dict[str, float]:
    """To how many of the target's rows each domain is the most alike, by the words that they use."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    read = lab.tokenizer().decode
    texts = {name: [read(row.ids) for row in pool] for name, pool in pools.items()}
    counted = TfidfVectorizer().fit([text for one in texts.values() for text in one])
    centres = np.vstack([np.asarray(counted.transform(one).mean(0)) for one in texts.values()])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    nearest = np.asarray(counted.transform([read(row.ids) for row in few]) @ centres.T).argmax(1)
    return {name: float((nearest == number).sum()) for number, name in enumerate(pools)}
