"""Small domains are drawn often at first and by their size later."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from scrimp.core.progress import quiet
from scrimp.core.registry import build
from scrimp.data.mixing import Domains, gathered
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded
from scrimp.tuning.objectives import SFT, Loss, TorchBatch
from scrimp.tuning.plan import TunePlan

SIZES = {"talk.politics.mideast": 1200, "sci.med": 60, "rec.sport.hockey": 30}  # rows of each
LENGTH, BATCH, STEPS, RATE = 32, 8, 200, 2e-3


@claim(
    papers=(32,),
    says="A small language model goes on to train on three newsgroups that it has not seen, one large and two of which "
         "there are 60 and 30 rows. Drawn at a temperature of 5 for half of the steps and by their sizes afterwards, "
         "the three are predicted better, on average, than drawn by size or at that temperature all the way, or drawn "
         "by size with losses weighted as that temperature would draw.",
    holds_if=("mean loss: cooldown < proportional", "mean loss: cooldown < temperature",
              "mean loss: cooldown < upweighted"),
    arms={"cooldown": {"mixing": "cooldown"}, "proportional": {"mixing": "proportional"},
          "temperature": {"mixing": "temperature"}, "upweighted": {"mixing": "proportional", "upweighted": True}},
    methods=("mixing/cooldown", "mixing/temperature", "sampling/mixture"),
    minutes=3,
)
def cooldown(lab: Lab, *, mixing: str, upweighted: bool = False) -> dict[str, float]:
    parts = {name: [replace(row, target=number) for row in lab.blocks(lab.texts(name), LENGTH, size)]
             for number, (name, size) in enumerate(SIZES.items())}
    rows, domains = gathered(parts)
    plan = TunePlan.parse({"adapter": "full", "learning_rate": RATE, "steps": lab.scale(STEPS, 6),
                           "batch_size": BATCH, "seed": lab.seed, "sampling": "mixture", "domains": domains,
                           "mixing": mixing})
    if upweighted:
        known = Domains(SIZES, 1, 1)
        wanted, drawn = (build("mixing", name).weights(0, signals=known) for name in ("temperature", "proportional"))
        plan = replace(plan, objective=Upweighted(weights=tuple(wanted[name] / drawn[name] for name in SIZES)))
    model = trained(lab, plan, rows)
    losses = {name: lab.loss(model, lab.blocks(lab.texts(name, "test"), LENGTH, lab.scale(80, 4))) for name in SIZES}
    return {"mean loss": float(np.mean(list(losses.values()))), **{f"{name} loss": x for name, x in losses.items()}}


class Upweighted(SFT):
    """The next token, each row's loss times the weight of its domain, whose number stands for its class."""

    weights: tuple[float, ...] = ()

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        found = self.losses(model, batch)
        weights = found.sums.new_tensor([self.weights[number] for number in batch.targets.tolist()])
        return Loss((weights * found.sums).sum(), int(found.counts.sum()))


def trained(lab: Lab, plan: TunePlan, rows: list[Encoded]) -> Any:
    model = plan.attach(lab.language_model(layers=2, width=64, share=0.5))
    with tempfile.TemporaryDirectory() as folder, quiet():
        plan.train(model, rows, pad_id=0, folder=Path(folder), meter=lab.meter)
    return model
