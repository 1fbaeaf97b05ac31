"""What tuning changes in a small model's logits shifts a large one that was never tuned."""

from __future__ import annotations

from typing import Any, Literal

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.serving.decoding import Combined

DOMAIN = "rec.sport.hockey"
SMALL: dict[str, Any] = {"layers": 2, "width": 64, "heads": 2, "share": 0.25}
STEPS, BATCH = 80, 4
RATES = {"learning_rate": (2e-3, 4e-3, 8e-3)}


@claim(
    papers=(174, 122),
    says="A language model is shifted by the difference that tuning on a domain made in the logits of a weaker one, a "
         "quarter of its size that saw a quarter of its texts: on the domain it is better than it was and than the "
         "small tuned one, and it has more than half of what it would have gained if it had been tuned itself.",
    holds_if=("gain: shifted > 0", "gain: shifted > small", "gain: shifted > 0.5 * tuned"),
    arms={"shifted": {"model": "shifted"}, "small": {"model": "small"}, "tuned": {"model": "tuned"}},
    search={"shifted": RATES, "small": {"learning_rate": (4e-3, 8e-3, 1.6e-2)}, "tuned": RATES},
    tuned_for="gain", better="higher",
    methods=("decoding/proxy-tuning", "decoding/emulated-fine-tuning"),
    unequal="all are tuned for as many steps, and that a step of the small model is cheaper is the point of the method",
    minutes=6,
)
def proxy_tuning(lab: Lab, *, model: Literal["shifted", "small", "tuned"], learning_rate: float) -> dict[str, float]:
    """The gain is by how many nats a token the domain's held-out posts are told better than by the large model."""
    held_out, large = lab.blocks(lab.texts(DOMAIN, "test"), count=lab.scale(32, 2)), lab.language_model()
    before = lab.loss(large, held_out)
    rows = lab.blocks(lab.texts(DOMAIN), count=STEPS * BATCH)
    tuned: Any = lab.tune(large if model == "tuned" else lab.language_model(**SMALL), rows, adapter="full",
                          batch_size=BATCH, learning_rate=learning_rate, steps=lab.scale(STEPS, 2))
    if model == "shifted":
        tuned = Combined(build("decoding", "proxy-tuning"), [large, tuned, lab.language_model(**SMALL)])
    return {"gain": before - lab.loss(tuned, held_out)}
