"""DyLoRA trains one adapter that can be cut to any rank."""

from __future__ import annotations

import copy

from scrimp.evidence import Lab, claim
from scrimp.tuning.adapters import cut


@claim(
    papers=(75,),
    says="One DyLoRA run of rank 8, cut to rank 1, 2 or 4, has a lower held-out loss than a LoRA of rank 8 cut "
         "likewise, and uncut it is within five percent of it.",
    holds_if=("loss at rank 1: dylora < lora", "loss at rank 2: dylora < lora", "loss at rank 4: dylora < lora",
              "loss at rank 8: dylora < 1.05 * lora"),
    arms={adapter: {"adapter": adapter, "learning_rate": 3e-3} for adapter in ("dylora", "lora")},
    methods=("adapter/dylora", "adapter/lora"),
    minutes=3,
)
def dylora(lab: Lab, *, adapter: str, learning_rate: float) -> dict[str, float]:
    train, test = (lab.encoded(lab.sums(count, seed=lab.seed + part)) for part, count in ((0, 1280), (10_000, 300)))
    model = lab.tune(lab.language_model(), train, adapter=adapter, rank=8, learning_rate=learning_rate,
                     batch_size=16, steps=lab.scale(80, 2))
    found = {}
    for rank in (8, 4, 2, 1):
        small = copy.deepcopy(model)
        cut(small, rank, rescale=adapter == "dylora")
        found[f"loss at rank {rank}"] = lab.loss(small, test)
    return found
