"""LISA tunes a layer at a time, and all of them in the end."""

from __future__ import annotations

from typing import Any

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.adapters import trainable


@claim(
    papers=(68,),
    says="LISA, with two layers of four moving at a time, teaches a language model that adds to write the carries down "
         "with a lower held-out loss than LoRA, and keeps 95 percent of what full tuning gains with seven tenths of "
         "its optimizer state. (LoRA has less: here, unlike in the large models of the paper, embeddings are four "
         "tenths of all weights, and they always move.)",
    holds_if=("gain: lisa > lora", "gain: lisa > 0.95 * full", "state bytes: lisa < 0.7 * full"),
    arms={"lisa": {"adapter": "full", "optimizer": "lisa"}, "full": {"adapter": "full", "optimizer": "adamw"},
          "lora": {"adapter": "lora", "optimizer": "adamw"}},
    search={"learning_rate": (6e-3, 1.2e-2)},
    tuned_for="gain", better="higher",
    methods=("optimizer/lisa", "optimizer/adamw", "adapter/lora"),
    minutes=4,
)
def lisa(lab: Lab, *, adapter: str, optimizer: str, learning_rate: float) -> dict[str, float]:
    model, train, test = lab.carries(800, 200)
    before = lab.loss(model, test)
    layers: dict[str, Any] = {"layers_at_once": 2, "redraw_every": 5} if optimizer == "lisa" else {}
    model = lab.tune(model, train, adapter=adapter, optimizer=optimizer,
                     learning_rate=learning_rate, batch_size=8, steps=lab.scale(100, 2), **layers)
    state = build("optimizer", optimizer, layers).cost(trainable(model).items())
    return {"gain": before - lab.loss(model, test), "state bytes": float(state.state_bytes)}
