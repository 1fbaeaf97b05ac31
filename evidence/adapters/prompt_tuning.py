"""A learned prompt tells a frozen model more than examples in its context."""

from __future__ import annotations

from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded


@claim(
    papers=(203,),
    says="Ten learned vectors before a frozen language model that adds make the carries, which it was not taught to "
         "write down, likelier than four worked examples before each sum do; started from embeddings of the "
         "vocabulary, they learn no less than from random numbers.",
    holds_if=("loss: prompt < few-shot", "loss: prompt < 1.05 * random"),
    arms={"prompt": {"start": "vocabulary"}, "random": {"start": "random"}, "few-shot": {"start": None}},
    search={"prompt": {"learning_rate": (1e-1, 3e-1)}, "random": {"learning_rate": (1e-1, 3e-1)},
            "few-shot": {"shots": (2, 4)}},
    tuned_for="loss", better="lower",
    unequal="Examples in the context are the way to use a frozen model without training.",
    methods=("adapter/prompt",),
    minutes=4,
)
def prompt_tuning(lab: Lab, *, start: str | None, learning_rate: float = 0.0, shots: int = 0) -> dict[str, float]:
    model, train, rows = lab.carries(1600, 200)
    if start is None:
        shown = [token for row in train[:shots] for token in row.ids]
        rows = [Encoded([*shown, *row.ids], [False] * len(shown) + list(row.trained), row=row.row) for row in rows]
    else:
        model = lab.tune(model, train, adapter="prompt", vectors=10, start=start, learning_rate=learning_rate,
                         batch_size=8, steps=lab.scale(200, 2))
    return {"loss": lab.loss(model, rows)}
