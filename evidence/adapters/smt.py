"""Blocks chosen by their gradients do better than random ones, and than a LoRA of as many parameters."""

from __future__ import annotations

from typing import Any

from scrimp.evidence import Lab, claim

_BLOCKS = {"adapter": "smt", "block": 16, "density": 0.00825, "looks": 2}


@claim(
    papers=(215,),
    says="On a domain that a language model has not seen, training 14,592 weights in the blocks with the largest first "
         "gradients ends in a lower held-out loss than random blocks, and in none higher than a LoRA of that size.",
    holds_if=("loss: gradient < random", "loss: gradient <= lora", "parameters: gradient <= lora"),
    arms={"gradient": {**_BLOCKS, "choose": "gradient"}, "random": {**_BLOCKS, "choose": "random"},
          "lora": {"adapter": "lora", "rank": 1}},
    methods=("adapter/smt", "adapter/lora"),
    minutes=3,
)
def smt(lab: Lab, **adapter: Any) -> dict[str, float]:
    """The two looks at gradients are steps that the blocks do not make: all arms do the same passes."""
    domain, steps = "soc.religion.christian", lab.scale(50, 4) - (2 if adapter.get("choose") == "gradient" else 0)
    train = lab.blocks(lab.texts(domain), length=32, count=lab.scale(400, 32))
    test = lab.blocks(lab.texts(domain, "test"), length=64, count=lab.scale(120, 4))
    model = lab.tune(lab.language_model(), train, learning_rate=1e-2, batch_size=8, steps=steps, **adapter)
    return {"loss": lab.loss(model, test), "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
