"""Which few of a model's weights are tuned matters little, if they are tuned at a rate of their own."""

from __future__ import annotations

from typing import Any

from scrimp.evidence import Lab, claim


@claim(
    papers=(247,),
    says="A language model that adds is taught to write the carries down: one in eighty of its weights, drawn at "
         "random and tuned at a rate of their own, come within five percent of the held-out loss of a LoRA of as many "
         "parameters.",
    holds_if=("loss: random < 1.05 * lora", "parameters: random <= lora"),
    arms={"random": {"adapter": "random-mask", "density": 0.0122}, "lora": {"adapter": "lora", "rank": 1}},
    search={"random": {"learning_rate": (1e-1, 3e-1, 1.0)}, "lora": {"learning_rate": (1.2e-2, 2.4e-2, 4.8e-2)}},
    tuned_for="loss", better="lower",
    methods=("adapter/random-mask", "adapter/lora"),
    minutes=4,
)
def random_mask(lab: Lab, *, learning_rate: float, **adapter: Any) -> dict[str, float]:
    model, train, test = lab.carries(800, 200)
    model = lab.tune(model, train, learning_rate=learning_rate, batch_size=8, steps=lab.scale(100, 2),
                     **adapter)
    return {"loss": lab.loss(model, test),
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
