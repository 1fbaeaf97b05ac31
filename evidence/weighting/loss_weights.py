"""What is easy by now counts less, and outliers no more than what is merely hard."""

from __future__ import annotations

from typing import Any

import numpy as np

from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

BATCH, LENGTH, STEPS = 16, 32, 120


@claim(
    papers=(43,),
    says="On a corpus of which near half is twenty blocks over and over and a twentieth is noise, weighting each block "
         "by its loss (LinUpper) leaves a small language model trained from scratch with a lower loss on clean text "
         "after as many steps; on a clean corpus it costs no more than half a percent.",
    holds_if=("loss after redundant: upper < uniform", "loss after clean: upper < 1.005 * uniform"),
    arms={"upper": {"weighting": "lin-upper"}, "uniform": {"weighting": "uniform"}},
    search={"learning_rate": (5e-3, 1e-2)}, tuned_for="loss after redundant",
    methods=("weighting/lin-upper", "weighting/uniform"),
    minutes=4,
)
def loss_weights(lab: Lab, *, weighting: str, learning_rate: float) -> dict[str, float]:
    texts = {part: [text for domain in lab.unseen for text in lab.texts(domain, part)] for part in ("train", "test")}
    clean = lab.blocks(texts["train"], length=LENGTH, count=lab.scale(BATCH * STEPS, 32))
    test = lab.blocks(texts["test"], length=LENGTH, count=lab.scale(200, 4))
    options: dict[str, Any] = {"remembered": 8 * BATCH} if weighting == "lin-upper" else {}
    found = {}
    for kind, train in (("redundant", redundant(lab, clean)), ("clean", clean)):
        model = lab.tune(lab.scratch(layers=2, width=48), train, adapter="full", weighting=weighting, batch_size=BATCH,
                         steps=lab.scale(STEPS, 2), learning_rate=learning_rate, **options)
        found[f"loss after {kind}"] = lab.loss(model, test)
    return found


def redundant(lab: Lab, clean: list[Encoded]) -> list[Encoded]:
    """Blocks of which each second is as it was, one of twenty is of random tokens, and the others are of twenty."""
    kinds = lab.rng.choice(3, size=len(clean), p=(0.5, 0.45, 0.05))
    repeated = lab.rng.integers(min(20, len(clean)), size=len(clean))
    noise = lab.rng.integers(4096, size=(len(clean), LENGTH))
    made = [(block.ids, clean[again].ids, drawn) for block, again, drawn in
            zip(clean, repeated.tolist(), noise.tolist(), strict=True)]
    return [Encoded(each[kind], [True] * LENGTH, row=i)
            for i, (each, kind) in enumerate(zip(made, np.asarray(kinds).tolist(), strict=True))]
