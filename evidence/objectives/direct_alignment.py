"""One loss for direct alignment: supervised tuning first, and then comparing pairs, beats both at once."""

from typing import Any

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.objectives import TorchBatch

PROMPT, ANSWER = 24, 8
FIRST, SECOND = 240, 240  # chosen answers of the first phase, pairs of the second


@claim(
    papers=(217,),
    says="A text's own continuation is preferred to another text's. ORPO with a strength beta, after a phase of "
         "supervised tuning, finds held-out continuations more probable than the others more often than one-stage ORPO "
         "with as many passes, and about as often as DPO after the same first phase.",
    holds_if=("preference accuracy: two-stage > one-stage", "preference accuracy: two-stage > dpo - 0.02"),
    arms={"two-stage": {"objective": "orpo-two-stage"}, "one-stage": {"objective": "orpo"},
          "dpo": {"objective": "dpo"}},
    search={"two-stage": {"strength": (0.3, 1.0), "learning_rate": (1e-3, 2e-3)},
            "one-stage": {"strength": (0.3, 1.0), "learning_rate": (1e-3, 2e-3)},
            "dpo": {"strength": (0.1, 0.3), "learning_rate": (1e-3, 2e-3)}},
    tuned_for="preference accuracy", better="higher",
    methods=("objective/orpo-two-stage", "objective/orpo", "objective/dpo"),
    minutes=6,
)
def direct_alignment(lab: Lab, *, objective: str, strength: float, learning_rate: float) -> dict[str, float]:
    first, second = lab.scale((FIRST, SECOND), (16, 16))
    texts = [text for domain in lab.unseen for text in lab.texts(domain)]
    rows = pairs(lab, texts, first + second)
    held_out = pairs(lab, [text for domain in lab.unseen for text in lab.texts(domain, "test")], lab.scale(1600, 32))
    shared: dict[str, Any] = {"adapter": "full", "batch_size": 8, "epochs": 1, "learning_rate": learning_rate}
    model = lab.language_model()
    if objective == "orpo":  # both at once, on as many passes: a pair is two
        model = lab.tune(model, rows[:first // 2 + second], objective="orpo", preference_weight=strength, **shared)
    else:
        model = lab.tune(model, rows[:first], objective="sft", **shared)
        rest = rows[first:] if objective != "dpo" else rows[first:first + 3 * second // 4]  # the reference passes too
        model = lab.tune(model, rest, objective=objective, beta=strength, **shared)
    return {"preference accuracy": accuracy(model, held_out)}


def pairs(lab: Lab, texts: list[str], count: int) -> list[Encoded]:
    """Beginnings of texts, each with its own continuation and, as the rejected one, the next text's."""
    tokenizer, rng = lab.tokenizer(), np.random.default_rng(lab.seed)
    long = [ids for text in (texts[i] for i in rng.permutation(len(texts)))
            if len(ids := tokenizer(text, verbose=False)["input_ids"]) >= PROMPT + ANSWER][:count]
    trained = [False] * PROMPT + [True] * ANSWER
    others = long[1:] + long[:1]
    return [Encoded(ids[:PROMPT + ANSWER], trained, row=n,
                    second=Encoded(ids[:PROMPT] + other[PROMPT:PROMPT + ANSWER], trained, row=n))
            for n, (ids, other) in enumerate(zip(long, others, strict=True))]


def accuracy(model: nn.Module, rows: list[Encoded]) -> float:
    """Share of pairs whose preferred answer is the more probable one; both are equally long."""
    measure, right = build("objective", "simpo"), 0
    with torch.inference_mode():
        for at in range(0, len(rows), 50):
            batch = TorchBatch.of(collate(rows[at:at + 50], pad_id=0), torch.device("cpu"))
            losses, places = measure.token_losses(model, batch)
            chosen, rejected = torch.bincount(places, losses).chunk(2)
            right += int((chosen < rejected).sum())
    return right / len(rows)
