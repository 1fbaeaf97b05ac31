"""Compacter does with a tenth of a bottleneck's parameters."""

from __future__ import annotations

import numpy as np

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded


@claim(
    papers=(297,),
    says="In a sentence encoder, Compacter's networks, a tenth of the parameters of plain bottlenecks, learn to "
         "classify newsgroup posts with a held-out loss within two percent of these, and below that of a head alone.",
    holds_if=("loss: compacter < 1.02 * bottleneck", "loss: compacter < head",
              "parameters: compacter < 0.1 * bottleneck"),
    arms={name: {"adapter": name} for name in ("compacter", "bottleneck", "head")},
    search={"compacter": {"learning_rate": (1e-2, 2e-2)}, "bottleneck": {"learning_rate": (1e-2, 2e-2)},
            "head": {"learning_rate": (3e-2, 6e-2)}},
    tuned_for="loss", better="lower",
    methods=("adapter/compacter", "adapter/bottleneck", "adapter/head"),
    minutes=9,
)
def compacter(lab: Lab, *, adapter: str, learning_rate: float) -> dict[str, float]:
    texts, y, test_texts, test_y = lab.classes("20newsgroups", *lab.scale((40, 1000), (1, 8)))
    encoder = lab.minilm()

    def rows(texts: list[str], classes: np.ndarray) -> list[Encoded]:
        ids = encoder.tokenizer(texts, truncation=True, max_length=24)["input_ids"]
        return [Encoded(row, [False] * len(row), target=int(c), row=i)
                for i, (row, c) in enumerate(zip(ids, classes, strict=True))]

    model = PooledClassifier(encoder.model, lab.domains(), seed=lab.seed)
    parameters = build("adapter", adapter).cost(model).parameters
    tuned = lab.tune(model, rows(texts, y), adapter=adapter, objective="classify", learning_rate=learning_rate,
                     batch_size=16, steps=lab.scale(100, 2))
    head = sum(value.numel() for value in model.head.parameters())
    return {"loss": lab.loss(tuned, rows(test_texts, test_y), objective="classify"), "parameters": parameters - head}
