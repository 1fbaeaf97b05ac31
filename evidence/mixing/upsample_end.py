"""The rows of a small domain teach more about it at the end of a run than spread over all of it."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.data.mixing import Domains, gathered
from scrimp.evidence import Lab, claim

GENERAL = ("rec.autos", "sci.electronics", "sci.space", "comp.windows.x", "talk.politics.guns", "misc.forsale")
DOMAIN, LENGTH, BATCH, STEPS = "sci.med", 32, 8, 160
RATE = 4e-3  # what the search of `rewarm` chose for most of its arms, on rows of 64 tokens; not searched here
ROWS, DOMAIN_ROWS = 200, 60  # of each general group, and of the small domain


@claim(
    papers=(17,),
    says="A small language model is trained on six newsgroups and a little of a seventh. Given in the last 15 % of the "
         "steps, where it is half of the rows, the seventh is predicted better than if as many of its rows are spread "
         "evenly over the run, or come at its beginning; the loss on the others is within two per cent of the even "
         "mix's.",
    holds_if=("domain loss: end < spread", "domain loss: end < start",
              "general loss: end < 1.02 * spread"),
    arms={"end": {"when": "end"}, "spread": {"when": "spread"}, "start": {"when": "start"}},
    methods=("mixing/upsample-end", "sampling/mixture"),
    minutes=3,
)
def upsample_end(lab: Lab, *, when: str) -> dict[str, float]:
    steps = lab.scale(STEPS, 10)
    parts = {name: lab.blocks(lab.texts(name), LENGTH, ROWS) for name in GENERAL}
    rows, domains = gathered({**parts, DOMAIN: lab.blocks(lab.texts(DOMAIN), LENGTH, DOMAIN_ROWS)})
    known = Domains({name: domains.count(name) for name in dict.fromkeys(domains)}, steps, steps * BATCH)
    late = build("mixing", "upsample-end", {"favoured": DOMAIN})
    even = float(np.mean([late.weights(step, signals=known)[DOMAIN] for step in range(steps)]))
    stages = {"end": {}, "spread": {"begins": (0.0,), "shares": (even,)},
              "start": {"begins": (0.0, 1 - late.begins[1]), "shares": late.shares[::-1]}}[when]
    model = lab.tune(lab.scratch(layers=2, width=64), rows, adapter="full", learning_rate=RATE, steps=steps,
                     batch_size=BATCH, sampling="mixture", domains=domains, mixing="upsample-end",
                     mixing_options={"favoured": DOMAIN, **stages})
    tested = {name: lab.blocks(lab.texts(name, "test"), LENGTH, lab.scale(100 if name == DOMAIN else 25, 4))
              for name in (*GENERAL, DOMAIN)}
    return {"domain loss": lab.loss(model, tested[DOMAIN]),
            "general loss": float(np.mean([lab.loss(model, tested[name]) for name in GENERAL]))}
