"""GaLore moves all weights with a fraction of Adam's state."""

from __future__ import annotations

from typing import Any

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.adapters import trainable


@claim(
    papers=(39,),
    says="With rank 8, GaLore keeps less than half of AdamW's optimizer state, teaches a language model that adds to "
         "write the carries down with 95 percent of the held-out gain that AdamW has, and gains more than a LoRA of "
         "that rank.",
    holds_if=("state bytes: galore < 0.5 * adamw", "gain: galore > 0.95 * adamw", "gain: galore > lora"),
    arms={"galore": {"adapter": "full", "optimizer": "galore"}, "adamw": {"adapter": "full", "optimizer": "adamw"},
          "lora": {"adapter": "lora", "optimizer": "adamw"}},
    search={"galore": {"learning_rate": (8e-3, 1.6e-2)}, "adamw": {"learning_rate": (6e-3, 1.2e-2)},
            "lora": {"learning_rate": (6e-3, 1.2e-2)}},
    tuned_for="gain", better="higher",
    methods=("optimizer/galore", "optimizer/adamw", "adapter/lora"),
    minutes=4,
)
def galore(lab: Lab, *, adapter: str, optimizer: str, learning_rate: float) -> dict[str, float]:
    model, train, test = lab.carries(800, 200)
    before = lab.loss(model, test)
    few: dict[str, Any] = {"projection_every": 50, "projection_scale": 1.0} if optimizer == "galore" else {}
    model = lab.tune(model, train, adapter=adapter, optimizer=optimizer,
                     learning_rate=learning_rate, batch_size=8, steps=lab.scale(100, 2), **few)
    state = build("optimizer", optimizer).cost(trainable(model).items()).state_bytes
    return {"gain": before - lab.loss(model, test), "state bytes": state}
