"""LISA tunes a layer at a time, and all of them in the end."""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.tuning.adapters import trainable


@claim(
    papers=(68,),
    says="LISA, with one layer of four moving at a time, does better than LoRA and comes within three percent of full "
         "tuning's held-out loss, with six tenths of its optimizer state. (LoRA has less: here, unlike in the large "
         "models of the paper, embeddings are a third of all weights, and they always move.)",
    holds_if=("loss: lisa < lora", "loss: lisa < 1.03 * full", "state bytes: lisa < 0.6 * full"),
    arms={"lisa": {"adapter": "full", "optimizer": "lisa"}, "full": {"adapter": "full", "optimizer": "adamw"},
          "lora": {"adapter": "lora", "optimizer": "adamw"}},
    methods=("optimizer/lisa", "optimizer/adamw", "adapter/lora"),
    minutes=3,
)
def lisa(lab: Lab, *, adapter: str, optimizer: str) -> dict[str, float]:
    train, test = (lab.encoded(lab.sums(count, seed=lab.seed + part)) for part, count in ((0, 1280), (10_000, 300)))
    few = {"layers_at_once": 1, "redraw_every": 5} if optimizer == "lisa" else {}
    model = lab.tune(lab.language_model(), train, adapter=adapter, optimizer=optimizer, learning_rate=3e-3,
                     batch_size=16, steps=lab.scale(80, 2), **few)
    state = build("optimizer", optimizer, {"layers_at_once": 1} if few else {}).cost(trainable(model).items())
    return {"loss": lab.loss(model, test), "state bytes": float(state.state_bytes)}
