"""A model is brought to new data by warming it up again and replaying some of the old."""

from typing import Any

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

OLD, NEW, LENGTH = 120, 80, 64  # steps on the old data and on the new
BATCH, FLOOR = 8, 0.1


@claim(
    papers=(47,),
    says="A small language model that was trained on hockey and decayed goes on to posts on religion. With its rate "
         "raised and decayed again and a quarter of the rows replayed, its mean loss on both is within two per cent of "
         "a model trained on both from the beginning for as many steps in all, lower than without replay, and lower "
         "than at the small rate at which the first training ended.",
    holds_if=("mean loss: rewarmed < 1.02 * union", "mean loss: rewarmed < no-replay",
              "mean loss: rewarmed < small-rate"),
    arms={"rewarmed": {"replay": 0.25, "schedule": "rewarm"}, "no-replay": {"replay": 0.0, "schedule": "rewarm"},
          "small-rate": {"replay": 0.25, "schedule": "constant"}, "union": {"replay": None, "schedule": "cosine"}},
    search={"rewarmed": {"learning_rate": (4e-3, 8e-3)}, "no-replay": {"learning_rate": (4e-3, 8e-3)},
            "small-rate": {"learning_rate": (8e-3, 1.6e-2)}, "union": {"learning_rate": (4e-3, 8e-3)}},
    tuned_for="mean loss",
    methods=("continual/replay", "schedule/rewarm"),
    minutes=6,
)
def rewarm(lab: Lab, *, replay: float | None, schedule: str, learning_rate: float) -> dict[str, float]:
    old_steps, new_steps = lab.scale((OLD, NEW), (3, 3))
    domains = ("rec.sport.hockey", "soc.religion.christian")
    old, new = (lab.blocks(lab.texts(d), LENGTH, BATCH * steps)
                for d, steps in zip(domains, (old_steps, new_steps), strict=True))
    shared: dict[str, Any] = {"adapter": "full", "batch_size": BATCH, "epochs": 1}
    model = lab.scratch(layers=2, width=64)
    if replay is None:
        model = lab.tune(model, old + new, learning_rate=learning_rate, schedule=schedule, floor=FLOOR, **shared)
    else:
        model = lab.tune(model, old, learning_rate=learning_rate, schedule="cosine", floor=FLOOR, **shared)
        # as many rows as there are new ones, so that replaying is paid for with new data
        fresh = round(len(new) * (1 - replay))
        order = build("continual", "replay", {"share": replay}).order(fresh, len(old), seed=lab.seed)
        rows = [new[i] if i < fresh else old[i - fresh] for i in order]
        rate = learning_rate * (1 if schedule == "rewarm" else FLOOR)
        model = lab.tune(model, rows, learning_rate=rate, schedule=schedule, **shared)
    losses = [lab.loss(model, lab.blocks(lab.texts(d, "test"), LENGTH, lab.scale(60, 8))) for d in domains]
    return {"mean loss": sum(losses) / 2, "old loss": losses[0], "new loss": losses[1]}
