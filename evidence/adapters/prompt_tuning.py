"""A learned prompt tells a frozen model more than examples in its context."""

from __future__ import annotations

from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded


@claim(
    papers=(203,),
    says="Ten learned vectors before a frozen language model of 2.5 million parameters make the answers of additions "
         "likelier than four solved examples before each do; started from embeddings of the vocabulary, they learn no "
         "less than from random numbers.",
    holds_if=("loss: prompt < few-shot", "loss: prompt < random + 0.05"),
    arms={"prompt": {"start": "vocabulary"}, "random": {"start": "random"}, "few-shot": {"start": None}},
    unequal="Examples in the context are the way to use a frozen model without training.",
    methods=("adapter/prompt",),
    minutes=4,
)
def prompt_tuning(lab: Lab, *, start: str | None) -> dict[str, float]:
    train, test = (lab.encoded(lab.sums(count, seed=lab.seed + part)) for part, count in ((0, 960), (10_000, 300)))
    model = lab.language_model()
    if start is None:
        shots = [token for row in train[:4] for token in row.ids]
        test = [Encoded([*shots, *row.ids], [False] * len(shots) + list(row.trained), row=row.row) for row in test]
        return {"loss": lab.loss(model, test)}
    tuned = lab.tune(model, train, adapter="prompt", vectors=10, start=start, learning_rate=0.1, batch_size=16,
                     steps=lab.scale(60, 2))
    return {"loss": lab.loss(tuned, test)}
