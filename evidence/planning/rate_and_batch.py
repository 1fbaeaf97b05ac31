"""The best learning rate and batch of a larger model, told from grids over smaller ones."""

from __future__ import annotations

from itertools import product

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.evidence.letters import Letters, learned, loss, stream
from scrimp.planning.curves import Point

WIDTHS, SEEN = (16, 32, 64), (3200, 12_800)  # the last width is held out; places that are trained on
RATES, BATCHES = (1e-3, 3e-3, 1e-2, 3e-2), (32, 64, 128)
USUAL = (3e-4, 64)  # a rate and a batch that fit many models, and are not asked which


@claim(
    papers=(393,),
    says="Small language models over bytes of three sizes are trained with two amounts of text and every pair of four "
         "learning rates and three batches. Laws of the best rate and of the best batch, powers of parameters and of "
         "data, are fitted to the two smaller sizes: with the pair of the grid that is nearest to what they say, the "
         "largest model's loss is within a hundredth of the grid's best, and lower than with a usual rate.",
    holds_if=("loss over the best: law < 1.01", "loss: law < usual"),
    arms={"law": {"grid": True}, "usual": {"grid": False}},
    methods=("curve/hyperparameters",),
    unequal="the law is fitted to grids over smaller models, which is what it takes; a usual pair takes nothing",
    minutes=3,
)
def rate_and_batch(lab: Lab, *, grid: bool) -> dict[str, float]:
    """Losses are of the largest model, as the mean of both amounts of text."""
    text, test = stream(lab, "train"), stream(lab, "test")
    seen = tuple(lab.scale(rows, rows // 10) for rows in SEEN)

    def reached(width: int, rows: int, rate: float, batch: int) -> float:
        model = Letters(width, lab.seed)
        return loss(learned(lab, model, text, steps=rows // batch, batch=batch, learning_rate=rate, schedule="cosine"),
                    test)

    if not grid:
        return {"loss": float(np.mean([reached(WIDTHS[-1], rows, *USUAL) for rows in seen]))}
    came = {(width, rows): {pair: reached(width, rows, *pair) for pair in product(RATES, BATCHES)}
            for width, rows in product(WIDTHS, seen)}
    best = {place: min(losses, key=losses.__getitem__) for place, losses in came.items()}
    laws = [build("curve", "hyperparameters").fit([Point(_at(*place), float(pair[which]))
                                                   for place, pair in best.items() if place[0] != WIDTHS[-1]])
            for which in (0, 1)]
    taken = []
    for rows in seen:
        told = [law.predict(_at(WIDTHS[-1], rows)).value for law in laws]
        taken.append(tuple(min(known, key=lambda one, wanted=wanted: abs(np.log(one / wanted)))
                           for known, wanted in zip((RATES, BATCHES), told, strict=True)))
    places = [(WIDTHS[-1], rows) for rows in seen]
    losses = [came[place][pair] for place, pair in zip(places, taken, strict=True)]
    return {"loss": float(np.mean(losses)),
            "loss over the best": float(np.mean([found / came[place][best[place]]
                                                 for found, place in zip(losses, places, strict=True)])),
            "rate": float(np.mean([pair[0] for pair in taken])), "batch": float(np.mean([pair[1] for pair in taken]))}


def _at(width: int, rows: int) -> dict[str, float]:
    return {"params": float(Letters(width, 0).size), "tokens": float(rows)}
