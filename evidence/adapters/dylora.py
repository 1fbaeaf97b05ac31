"""DyLoRA trains one adapter that can be cut to any rank."""

from __future__ import annotations

import copy

from scrimp.evidence import Lab, claim
from scrimp.tuning.adapters import cut


@claim(
    papers=(75,),
    says="A language model that adds is taught to write the carries down. Cut to rank 1, 2 or 4, one DyLoRA run of "
         "rank 8 gains more held-out loss than a LoRA cut likewise; uncut, it keeps 95 percent of LoRA's gain.",
    holds_if=("gain at rank 1: dylora > lora", "gain at rank 2: dylora > lora", "gain at rank 4: dylora > lora",
              "gain at rank 8: dylora > 0.95 * lora"),
    arms={adapter: {"adapter": adapter} for adapter in ("dylora", "lora")},
    search={"learning_rate": (3e-3, 6e-3, 1.2e-2)},
    tuned_for="gain at rank 8", better="higher",
    methods=("adapter/dylora", "adapter/lora"),
    minutes=5,
)
def dylora(lab: Lab, *, adapter: str, learning_rate: float) -> dict[str, float]:
    model, train, test = lab.carries(2560, 200)
    before = lab.loss(model, test)
    model = lab.tune(model, train, adapter=adapter, rank=8, learning_rate=learning_rate, batch_size=8,
                     steps=lab.scale(320, 2))
    found = {}
    for rank in (8, 4, 2, 1):
        small = copy.deepcopy(model)
        cut(small, rank, rescale=adapter == "dylora")
        found[f"gain at rank {rank}"] = before - lab.loss(small, test)
    return found
