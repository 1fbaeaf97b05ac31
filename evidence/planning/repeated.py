"""Rows that are seen again and again make a model worse than as many new ones, and dropout mends most of it."""

from __future__ import annotations

from typing import Any

from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded

SMALL, LARGE = 16, 64  # widths
LENGTH, BATCH, STEPS, EPOCHS = 32, 8, 256, 32
RATE = 4e-3
DROPOUT = [{"adapter": "full-dropout", "dropout": rate} for rate in (0.1, 0.2)]
DECAY = [{"weight_decay": rate} for rate in (0.1, 1.0)]


@claim(
    papers=(568,),
    says="A language model is trained from scratch on rows of text that are seen 32 times, and on as many new ones: "
         "with repeated rows it ends with a higher loss. Dropout closes more than half of that gap, and more than "
         "weight decay does, each at the better of two rates; and a model that is four times as wide loses more by "
         "repeating.",
    holds_if=("lost by repeating: rows > 0", "share closed by dropout: rows > 0.5",
              "lead of dropout over decay: rows > 0", "lost more by the wider: rows > 0"),
    arms={"rows": {}},
    methods=("adapter/full-dropout",),
    minutes=4,
)
def repeated(lab: Lab) -> dict[str, float]:
    """Rates are chosen on other rows than those that are reported."""
    texts = {part: [text for domain in lab.unseen for text in lab.texts(domain, part)] for part in ("train", "test")}
    steps = lab.scale(STEPS, 8)
    new = lab.blocks(texts["train"], LENGTH, BATCH * steps)
    again = new[:max(len(new) // EPOCHS, BATCH)]
    held = lab.blocks(texts["test"], LENGTH, lab.scale(300, 8))
    chosen_on, test = held[::2], held[1::2]

    def trained(width: int, rows: list[Encoded], **plan: Any) -> tuple[float, float]:
        """The losses on the rows for choosing and on those for reporting."""
        model = lab.tune(lab.scratch(layers=2, width=width), rows, **{"adapter": "full", "learning_rate": RATE,
                         "steps": steps, "batch_size": BATCH, **plan})
        return lab.loss(model, chosen_on), lab.loss(model, test)

    once, often = trained(LARGE, new)[1], trained(LARGE, again)[1]
    dropout, decay = (min(trained(LARGE, again, **plan) for plan in plans)[1] for plans in (DROPOUT, DECAY))
    narrow = trained(SMALL, again)[1] - trained(SMALL, new)[1]
    closed = {name: (often - loss) / (often - once) for name, loss in (("dropout", dropout), ("decay", decay))}
    return {"lost by repeating": often - once, "share closed by dropout": closed["dropout"],
            "share closed by decay": closed["decay"], "lead of dropout over decay": decay - dropout,
            "lost more by the wider": often - once - narrow, "loss on new rows": once}
