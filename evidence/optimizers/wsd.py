"""One warm-up and plateau, with short decays from it, serves runs of several lengths."""

from __future__ import annotations

from scrimp.evidence import Lab, claim


@claim(
    papers=(21,),
    says="Trained from scratch to three lengths, a warm-up-stable-decay schedule that falls in the last tenth ends "
         "within one percent of a cosine made for that length; and since its plateaus are one, the three take little "
         "more than half of the steps.",
    holds_if=("loss after 50: wsd < 1.01 * cosine", "loss after 100: wsd < 1.01 * cosine",
              "loss after 150: wsd < 1.01 * cosine", "steps needed: wsd < 0.6 * cosine"),
    arms={schedule: {"schedule": schedule} for schedule in ("wsd", "cosine")},
    search={"wsd": {"learning_rate": (1.5e-3, 3e-3, 6e-3)}, "cosine": {"learning_rate": (3e-3, 6e-3, 1.2e-2)}},
    tuned_for="loss after 150", better="lower",
    methods=("schedule/wsd", "schedule/cosine"),
    minutes=3,
)
def wsd(lab: Lab, *, schedule: str, learning_rate: float) -> dict[str, float]:
    """At each length the warm-up has the same steps and the data the same order: the plateaus are one to the bit."""
    lengths, warm = (50, 100, 150), 5
    texts = {part: [text for domain in lab.unseen for text in lab.texts(domain, part)] for part in ("train", "test")}
    train = lab.blocks(texts["train"], length=32, count=lab.scale(8 * lengths[-1], 16))
    test = lab.blocks(texts["test"], length=32, count=lab.scale(100, 4))
    found = {}
    for steps in lengths:
        model = lab.tune(lab.scratch(layers=2, width=48), train, adapter="full", schedule=schedule, warmup=warm / steps,
                         learning_rate=learning_rate, batch_size=8, steps=lab.scale(steps, 2))
        found[f"loss after {steps}"] = lab.loss(model, test)
    shared = lengths[-1] + sum(steps - round(0.9 * steps) for steps in lengths[:-1])
    return {**found, "steps needed": float(shared if schedule == "wsd" else sum(lengths))}
