"""Documents in parts of their own, short ones first, instead of blocks of whatever stands beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

LONGEST, TOKENS, STEPS = 512, 2048, 60


@claim(
    papers=(72,),
    says="Trained from scratch on as many tokens, a small language model whose documents are decomposed into parts of "
         "lengths that are powers of two, short ones first, has a loss on long documents no higher than one that "
         "learns from blocks of concatenated documents, and its tokens attend to less than three quarters of the "
         "tokens.",
    holds_if=("loss on long: decomposed <= concatenated", "attended: decomposed < 0.75 * concatenated"),
    arms={"decomposed": {"packing": "decomposed"}, "concatenated": {"packing": "concatenated"}},
    search={"learning_rate": (5e-3, 1e-2)}, tuned_for="loss on long",
    methods=("packing/decomposed", "packing/concatenated", "sampling/length-curriculum"),
    minutes=5,
)
def decomposition(lab: Lab, *, packing: str, learning_rate: float) -> dict[str, float]:
    train, test = (documents(lab, part) for part in ("train", "test"))
    long = [Encoded(one.ids[:LONGEST], one.trained[:LONGEST]) for one in test if len(one.ids) >= LONGEST]
    apart = packing == "decomposed"
    choice: dict[str, Any] = {"packing": packing, **({"longest_part": LONGEST} if apart else {"pack_tokens": LONGEST})}
    sampling = "length-curriculum" if apart else "shuffle"
    packed = build("packing", packing, {k: v for k, v in choice.items() if k != "packing"}).pack(train, seed=lab.seed)
    batch = -(-TOKENS * len(packed) // sum(len(one.ids) for one in packed))
    feed = build("sampling", sampling).feed(packed, batch_size=batch, seed=lab.seed)
    epoch = [[len(packed[i].ids) for i in feed.indices(step)] for step in range(feed.steps_per_epoch)]
    every = [length for step in epoch for length in step]
    seen = np.cumsum([sum(step) for step in epoch * 2])
    model = lab.tune(lab.scratch(layers=2, width=48), train, adapter="full", sampling=sampling, batch_size=batch,
                     micro_tokens=TOKENS + LONGEST, learning_rate=learning_rate,
                     steps=1 + int(abs(seen - lab.scale(STEPS, 24) * TOKENS).argmin()), **choice)
    return {"loss on long": lab.loss(model, long[:lab.scale(60, 4)]),
            "attended": sum(length * (length + 1) / 2 for length in every) / sum(every)}


def documents(lab: Lab, part: str) -> list[Encoded]:
    """As much of the newsgroups that no model of the lab was trained on as is read once, with their end token."""
    tokenizer = lab.tokenizer()
    texts = [text for domain in lab.unseen for text in lab.texts(domain, part)]
    found, left = [], lab.scale(STEPS, 24) * TOKENS
    for row in lab.rng.permutation(len(texts)):
        ids = [*tokenizer(texts[row], verbose=False)["input_ids"], tokenizer.eos_token_id]
        found.append(Encoded(ids, [True] * len(ids), row=int(row)))
        left -= len(ids)
        if left <= 0:
            break
    return found
