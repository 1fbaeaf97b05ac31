"""For the same arithmetic, a deep model stacked from a trained shallow one is better than one from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

SHALLOW, FACTOR, BLOCK, BATCH = 2, 4, 64, 8
FIRST, THEN = 320, 96  # steps of the shallow and of the grown model


@claim(
    papers=(567,),
    says="A decoder of two layers is trained on text as bytes, stacked to eight and trained on: within the "
         "floating-point operations that one of eight layers takes from nothing, it reaches a lower loss.",
    holds_if=("loss: stack < scratch",),
    arms={"stack": {"growth": "stack"}, "scratch": {"growth": None}},
    search={"stack": {"learning_rate": (1e-3, 1.7e-3, 3e-3)}, "scratch": {"learning_rate": (1.7e-3, 3e-3, 5e-3)}},
    tuned_for="loss",
    methods=("growth/stack",),
    unequal="the arms are equal in floating-point operations, not in tokens: a step of the shallow model is cheaper",
    minutes=5,
)
def stacking(lab: Lab, *, growth: str | None, learning_rate: float) -> dict[str, float]:
    shallow, deep = (decoder(lab, layers) for layers in (SHALLOW, SHALLOW * FACTOR))
    rows, held_out = in_bytes(lab, "train", BATCH * (FIRST + THEN)), in_bytes(lab, "test", lab.scale(256, 8))
    plan: dict[str, Any] = {"adapter": "full", "batch_size": BATCH, "learning_rate": learning_rate}
    if growth is None:
        steps = round(FIRST * shallow.num_parameters() / deep.num_parameters()) + THEN
        return {"loss": lab.loss(lab.tune(deep, rows, steps=lab.scale(steps, 2), **plan), held_out)}
    small = lab.tune(shallow, rows[: BATCH * FIRST], steps=lab.scale(FIRST, 2), **plan)
    grown = build("growth", growth, {"factor": FACTOR}).grow(small, seed=lab.seed)
    return {"loss": lab.loss(lab.tune(grown, rows[BATCH * FIRST:], steps=lab.scale(THEN, 2), **plan), held_out)}


def decoder(lab: Lab, layers: int) -> Any:
    """An untrained one over bytes, where next to all the arithmetic is that of the layers."""
    config = LlamaConfig(vocab_size=256, hidden_size=64, intermediate_size=176, num_hidden_layers=layers,
                         num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=BLOCK,
                         tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(lab.seed)
        return LlamaForCausalLM(config)


def in_bytes(lab: Lab, part: str, count: int) -> list[Encoded]:
    """Blocks of posts, drawn by the seed."""
    stream = np.frombuffer("\n".join(lab.texts(part=part)).encode(), np.uint8)
    starts = lab.rng.integers(0, len(stream) - BLOCK, count)
    return [Encoded(stream[at:at + BLOCK].tolist(), [True] * BLOCK, row=row) for row, at in enumerate(starts)]
