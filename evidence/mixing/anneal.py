"""The learning rate goes down on a curated mix, several times from one checkpoint, and the results are averaged."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from scrimp.core.registry import build
from scrimp.data.mixing import gathered
from scrimp.evidence import Lab, claim

GENERAL = ("rec.autos", "sci.electronics", "sci.space", "comp.windows.x", "talk.politics.guns", "misc.forsale")
CURATED = ("sci.med", "rec.sport.hockey")
LENGTH, BATCH, STABLE, DECAY, ORDERS = 32, 8, 120, 30, 3
RATE = 4e-3  # what the search of `rewarm` chose for most of its arms, on rows of 64 tokens; not searched here


@claim(
    papers=(386,),
    says="A small language model is trained on six newsgroups at a steady rate. Taken down in a line to 0 in a fifth "
         "of the steps, half of whose rows are of two curated groups, its rate leaves it better on those groups than "
         "taken down on the six alone, as the mean of three orders of the rows; the average of the three models is "
         "better still than the mean of their losses.",
    holds_if=("curated loss: curated < base", "curated loss: soup < curated"),
    arms={"base": {"share": 0.0, "soup": False}, "curated": {"share": 0.5, "soup": False},
          "soup": {"share": 0.5, "soup": True}},
    methods=("mixing/anneal", "sampling/mixture", "merging/soup"),
    minutes=3,
)
def anneal(lab: Lab, *, share: float, soup: bool) -> dict[str, float]:
    shared: dict[str, Any] = {"adapter": "full", "batch_size": BATCH, "learning_rate": RATE, "warmup": 0.0}
    general = {name: lab.blocks(lab.texts(name), LENGTH, 200) for name in GENERAL}
    rows, domains = gathered({**general, **{name: lab.blocks(lab.texts(name), LENGTH, 100) for name in CURATED}})
    stable = [row for row, name in zip(rows, domains, strict=True) if name not in CURATED]
    begun = lab.tune(lab.scratch(layers=2, width=64), stable, schedule="constant", steps=lab.scale(STABLE, 4), **shared)
    models = []
    for order in range(ORDERS):
        own = Lab(100 * lab.seed + order, smoke=lab.smoke)
        own.meter = lab.meter
        models.append(own.tune(copy.deepcopy(begun), rows, schedule="linear", steps=lab.scale(DECAY, 4),
                               sampling="mixture", domains=domains, mixing="anneal",
                               mixing_options={"favoured": CURATED, "begins": (0.0,), "shares": (share,)}, **shared))
    if soup:
        merged = dict(build("merging", "soup").apply([model.state_dict() for model in models]))
        models = models[:1]
        models[0].load_state_dict(merged)
    tested = {name: lab.blocks(lab.texts(name, "test"), LENGTH, lab.scale(60 if name in CURATED else 20, 4))
              for name in (*GENERAL, *CURATED)}
    losses = {name: float(np.mean([lab.loss(model, blocks) for model in models])) for name, blocks in tested.items()}
    return {"curated loss": float(np.mean([losses[name] for name in CURATED])),
            "general loss": float(np.mean([losses[name] for name in GENERAL]))}
