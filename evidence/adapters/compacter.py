"""Compacter does with a tenth of a bottleneck's parameters."""

from __future__ import annotations

import numpy as np

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded


@claim(
    papers=(297,),
    says="On a language model's pooled states, Compacter's networks, a tenth of the parameters of plain bottlenecks, "
         "classify newsgroup posts to within 0.02 nats of these on held-out rows, and better than a head alone.",
    holds_if=("loss: compacter < bottleneck + 0.02", "loss: compacter < head",
              "parameters: compacter < 0.12 * bottleneck"),
    arms={name: {"adapter": name} for name in ("compacter", "bottleneck", "head")},
    methods=("adapter/compacter", "adapter/bottleneck", "adapter/head"),
    minutes=3,
)
def compacter(lab: Lab, *, adapter: str) -> dict[str, float]:
    texts, y, test_texts, test_y = lab.classes("20newsgroups", *lab.scale((40, 400), (1, 8)))
    tokenizer = lab.tokenizer()

    def rows(texts: list[str], classes: np.ndarray) -> list[Encoded]:
        ids = [tokenizer(text, verbose=False)["input_ids"][:24] or [0] for text in texts]
        return [Encoded(row, [False] * len(row), target=int(c), row=i)
                for i, (row, c) in enumerate(zip(ids, classes, strict=True))]

    model = PooledClassifier(lab.language_model().get_decoder(), lab.domains(), seed=lab.seed)
    parameters = build("adapter", adapter).cost(model).parameters
    tuned = lab.tune(model, rows(texts, y), adapter=adapter, objective="classify", learning_rate=1e-2,
                     steps=lab.scale(80, 2))
    head = sum(value.numel() for value in model.head.parameters())
    return {"loss": lab.loss(tuned, rows(test_texts, test_y), objective="classify"), "parameters": parameters - head}
