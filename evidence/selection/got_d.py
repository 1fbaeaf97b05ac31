"""What is trained on before a small target does more if it leads the pool to the target."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples

WORDS = 40


class States:
    """Signals in which the plain mean of the model's states is the embedding."""

    def __init__(self, lab: Lab, model: object) -> None:
        self._signals = lab.signals(model)  # type: ignore[arg-type]

    def embeddings(self, rows: Examples) -> np.ndarray:
        return self._signals.states(rows, pooling="mean")


@claim(
    papers=(22,),
    says="A small language model is tuned on one in twenty posts of a pool like what it was trained on, then on "
         "sixteen posts of a group that it has never seen. Where optimal transport from the pool to these chose what "
         "comes first, it does better on the group than where chance did, and no worse than where likeness did.",
    holds_if=("loss: transport < random", "loss: transport <= nearest", "loss: transport < none"),
    arms={"transport": {"method": "got-d"}, "nearest": {"method": "nearest"}, "random": {"method": "random"},
          "none": {"method": "random", "first": False}},
    search={"learning_rate": (5e-4, 2e-3)}, tuned_for="loss",
    methods=("selection/got-d", "selection/nearest", "selection/random"),
    unequal="Scoring is a forward pass over the pool, and is on the bill; without a first training there is none.",
    minutes=4,
)
def got_d(lab: Lab, *, method: str, learning_rate: float, first: bool = True) -> dict[str, float]:
    domain = lab.unseen[lab.seed % len(lab.unseen)]
    held_out = lab.texts(domain, "test")
    aims = [cut_short(text) for text in some(lab, domain, 16)]
    drawn = [cut_short(text) for one in lab.domains() for text in some(lab, one, lab.scale(40, 4))]
    rows = read([{"text": text} for text in drawn if text not in aims])
    model = lab.language_model()
    keep = len(rows) // 20
    plan = {"adapter": "full", "batch_size": 4}
    if first:
        found = build("selection", method).select(rows, keep, signals=States(lab, model),  # type: ignore[arg-type]
                                                  target=read([{"text": text} for text in aims]), seed=lab.seed)
        model = lab.tune(model, lab.blocks([rows[i]["text"] for i in found.indices]), steps=lab.scale(16, 2),
                         learning_rate=learning_rate, **plan)
    model = lab.tune(model, lab.blocks(aims), steps=lab.scale(8, 2), learning_rate=2e-3, **plan)
    return {"loss": lab.loss(model, lab.blocks(held_out, count=lab.scale(64, 4)))}


def some(lab: Lab, domain: str, count: int) -> list[str]:
    texts = lab.texts(domain)
    return [texts[i] for i in lab.rng.permutation(len(texts))[:count]]


def cut_short(text: str) -> str:
    return " ".join(text.split()[:WORDS])
