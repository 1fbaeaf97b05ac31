"""Domains are weighed by how far their gradients go the way of a few examples of the target."""

from __future__ import annotations

from typing import Any

import numpy as np

from scrimp.data.mixing import gathered
from scrimp.evidence import Lab, claim

DOMAINS = ("soc.religion.christian", "rec.autos", "sci.electronics", "comp.windows.x", "talk.politics.guns",
           "misc.forsale")
TARGET = "alt.atheism"
LENGTH, BATCH, STEPS = 64, 8, 240
RATE = 4e-3  # which searches chose for this model on these texts, whatever the mix: see rewarm
ROWS, FEW = 100, 24  # of each domain, and of the target
LOOKS, PROBES = 6, 8
LOOKED = LOOKS * PROBES * (len(DOMAINS) + 1) // BATCH  # what the looks take, in steps


@claim(
    papers=(95,),
    says="A small language model is trained on 100 rows each of six newsgroups for the sake of another one, of which "
         "there are 24 rows. Weighed by the alignment of their gradients with those rows' six times in a run, the "
         "groups teach more about it than evenly mixed, mixed once by which group each of those rows resembles most, "
         "or than those rows alone, with all looks on the bill.",
    holds_if=("target loss: dga < uniform", "target loss: dga < importance", "target loss: dga < target-only"),
    arms={"dga": {"how": "dga"}, "uniform": {"how": "uniform"}, "importance": {"how": "importance"},
          "target-only": {"how": "target-only"}},
    methods=("mixing/dga", "sampling/mixture"),
    minutes=4,
)
def dga(lab: Lab, *, how: str) -> dict[str, float]:
    few = lab.blocks(lab.texts(TARGET), LENGTH, FEW)
    learned = few[:FEW * 2 // 3] if how == "target-only" else few
    rows, domains = gathered({**{name: lab.blocks(lab.texts(name), LENGTH, ROWS) for name in DOMAINS}, TARGET: learned})
    model = lab.scratch(layers=2, width=64)
    mixed: dict[str, Any] = {
        "dga": {"mixing": "dga", "mixing_options": {"looks": LOOKS}, "probes": PROBES, "toward": TARGET},
        "uniform": {"mixing": "uniform", "toward": TARGET},
        "importance": {"mixing": "fixed", "mixing_options": {"favoured": resembled(lab)}, "toward": TARGET},
        "target-only": {"mixing": "fixed", "mixing_options": {"favoured": TARGET}, "validate_every": 10,
                        "validate": lambda: lab.loss(model, few[FEW * 2 // 3:])}}[how]  # or it knows them by heart
    steps = lab.scale(STEPS, 6) - (lab.scale(LOOKED, 0) if how == "dga" else 0)
    model = lab.tune(model, rows, adapter="full", learning_rate=RATE, steps=steps,
                     batch_size=BATCH, sampling="mixture", domains=domains, **mixed)
    return {"target loss": lab.loss(model, lab.blocks(lab.texts(TARGET, "test"), LENGTH, lab.scale(120, 4)))}


def resembled(lab: Lab) -> dict[str, float]:
    """To how many of the target's rows each domain is the most alike, by the words that they use."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    told = lab.tokenizer()
    texts = {name: [told.decode(row.ids) for row in lab.blocks(lab.texts(name), LENGTH, ROWS)] for name in DOMAINS}
    counted = TfidfVectorizer().fit([text for one in texts.values() for text in one])
    centres = np.vstack([np.asarray(counted.transform(one).mean(0)) for one in texts.values()])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    few = counted.transform([told.decode(row.ids) for row in lab.blocks(lab.texts(TARGET), LENGTH, FEW)])
    nearest = np.asarray(few @ centres.T).argmax(1)
    return {name: float((nearest == number).sum()) for number, name in enumerate(DOMAINS)}
