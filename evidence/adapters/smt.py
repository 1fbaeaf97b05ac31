"""Blocks chosen by their gradients do better than random ones, and than a LoRA of as many parameters."""

from __future__ import annotations

from typing import Any

from scrimp.evidence import Lab, claim

_BLOCKS = {"adapter": "smt", "block": 16, "density": 0.0977, "looks": 5}


@claim(
    papers=(215,),
    says="A language model that adds is taught to write the carries down: training the tenth of its weights in the "
         "blocks with the largest first gradients ends in a lower held-out loss than training as many random blocks, "
         "and in none higher than a LoRA of that size.",
    holds_if=("loss: gradient < random", "loss: gradient <= lora", "parameters: gradient <= lora"),
    arms={"gradient": {**_BLOCKS, "choose": "gradient"}, "random": {**_BLOCKS, "choose": "random"},
          "lora": {"adapter": "lora", "rank": 8}},
    search={"gradient": {"learning_rate": (6e-3, 1.2e-2)}, "random": {"learning_rate": (1.2e-2, 2.4e-2)},
            "lora": {"learning_rate": (4e-3, 8e-3)}},
    tuned_for="loss", better="lower",
    methods=("adapter/smt", "adapter/lora"),
    minutes=4,
)
def smt(lab: Lab, *, learning_rate: float, **adapter: Any) -> dict[str, float]:
    """The looks at gradients are steps that the blocks do not make: all arms do the same passes."""
    model, train, test = lab.carries(1200, 200)
    steps = lab.scale(150, 8) - (5 if adapter.get("choose") == "gradient" else 0)
    model = lab.tune(model, train, learning_rate=learning_rate, batch_size=8, steps=steps, **adapter)
    return {"loss": lab.loss(model, test),
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
