"""The longer a training, the larger its part with rounded weights should be; these cool down as they are rounded."""

from __future__ import annotations

from typing import Any

from scrimp.evidence import Lab, claim
from scrimp.evidence.letters import Letters, learned, loss, stream

WIDTH, BATCH, RATE, BITS = 64, 64, 3e-3, 2
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
SHORT, LONG, FUSED = 150, 1200, 800
COOLED = 0.25  # of the steps, in which the rate falls


@claim(
    papers=(366,),
    says="A small language model over bytes ends with weights of 2 bits. Of five shares of the steps in which weights "
         "are rounded, the best one is larger in eight times as long a training. When the rate falls in the part with "
         "rounded weights, the loss is no higher than when it falls before, and then rises and falls again.",
    holds_if=("best share in the longer: shares > 0", "loss: fused <= classic"),
    arms={"shares": {"way": "shares"}, "fused": {"way": "fused"}, "classic": {"way": "classic"}},
    methods=("optimizer/qat", "schedule/wsd", "schedule/rewarm"),
    unequal="the best share is found on runs of its own; the two that are compared are equal",
    minutes=3,
)
def qat_share(lab: Lab, *, way: str) -> dict[str, float]:
    text, test = stream(lab, "train"), stream(lab, "test")
    shared: dict[str, Any] = {"batch": BATCH, "learning_rate": RATE}
    rounding: dict[str, Any] = {"optimizer": "qat", "weight_bits": BITS}
    falling = {"decay": COOLED, "decay_shape": "linear"}
    if way == "shares":
        def reached(steps: int, share: float) -> float:
            return loss(learned(lab, Letters(WIDTH, lab.seed), text, steps=lab.scale(steps, 8), schedule="wsd",
                                schedule_options=falling, rounded_share=share, **rounding, **shared), test)

        best = {steps: min(SHARES, key=lambda share, steps=steps: reached(steps, share)) for steps in (SHORT, LONG)}
        return {"best share in the longer": best[LONG] - best[SHORT], "best share: short": best[SHORT],
                "best share: long": best[LONG]}
    model, steps = Letters(WIDTH, lab.seed), lab.scale(FUSED, 8)
    if way == "fused":
        learned(lab, model, text, steps=steps, schedule="wsd", schedule_options=falling, rounded_share=COOLED,
                **rounding, **shared)
    else:
        first = round((1 - COOLED) * steps)
        learned(lab, model, text, steps=first, schedule="wsd", schedule_options=falling, **shared)
        learned(lab, model, text, steps=steps - first, schedule="rewarm", schedule_options={"floor": 0.0},
                rounded_share=1.0, **rounding, **shared)
    return {"loss": loss(model, test)}
