"""GaLore moves all weights with a fraction of Adam's state."""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.adapters import trainable


@claim(
    papers=(39,),
    says="With rank 8, GaLore keeps less than half of AdamW's optimizer state and tunes a language model to within "
         "three percent of its held-out loss, and better than a LoRA of the same rank.",
    holds_if=("state bytes: galore < 0.5 * adamw", "loss: galore < 1.03 * adamw", "loss: galore < lora"),
    arms={"galore": {"adapter": "full", "optimizer": "galore"}, "adamw": {"adapter": "full", "optimizer": "adamw"},
          "lora": {"adapter": "lora", "optimizer": "adamw"}},
    search={arm: {"learning_rate": rates} for arm, rates in
            (("galore", (3e-3, 1e-2)), ("adamw", (1e-3, 3e-3)), ("lora", (1e-3, 3e-3)))},
    tuned_for="loss", better="lower",
    methods=("optimizer/galore", "optimizer/adamw", "adapter/lora"),
    minutes=3,
)
def galore(lab: Lab, *, adapter: str, optimizer: str, learning_rate: float) -> dict[str, float]:
    train, test = (lab.encoded(lab.sums(count, seed=lab.seed + part)) for part, count in ((0, 1280), (10_000, 300)))
    few = {"projection_every": 20} if optimizer == "galore" else {}
    model = lab.tune(lab.language_model(), train, adapter=adapter, optimizer=optimizer, learning_rate=learning_rate,
                     batch_size=16, steps=lab.scale(80, 2), **few)
    state = build("optimizer", optimizer).cost(trainable(model).items()).state_bytes
    return {"loss": lab.loss(model, test), "state bytes": state}
