"""Several instructions in one teach each of them in fewer steps."""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Encoded, Template


@claim(
    papers=(282,),
    says="A small language model that is tuned on mosaics of up to four instructions answers a single one as well in "
         "two fifths of the steps as one tuned on single ones, and several at once far better.",
    holds_if=("loss of one: mosaic < single", "loss of several: mosaic < single"),
    arms={"mosaic": {"most": 4, "steps": 48}, "single": {"most": 1, "steps": 120}},
    search={"learning_rate": (1e-3, 2e-3, 4e-3)}, tuned_for="loss of one",
    methods=("synthesis/mosaic",),
    unequal="The claim is about fewer steps, and a mosaic is longer than a single instruction.",
    minutes=4,
)
def mosaic(lab: Lab, *, most: int, steps: int, learning_rate: float) -> dict[str, float]:
    seeds = facts(lab)
    several = build("synthesis", "mosaic", {"most": 4})
    steps = lab.scale(steps, 2)
    rows = seeds if most == 1 else several.write(seeds, steps * 8, seed=lab.seed)
    model = lab.tune(lab.language_model(), encoded(lab, rows), adapter="full", learning_rate=learning_rate, steps=steps,
                     batch_size=8)
    together = several.write(seeds, lab.scale(64, 4), seed=lab.seed + 1)
    return {"loss of one": lab.loss(model, encoded(lab, seeds)),
            "loss of several": lab.loss(model, encoded(lab, together))}


def facts(lab: Lab) -> Examples:
    """What is to be learned: which of eight colours belongs to each of 96 words, by chance."""
    words = sorted({word for text in lab.texts(lab.unseen[0])[:40] for word in text.split() if len(word) > 5})[:96]
    colours = ("red", "blue", "green", "white", "black", "brown", "gray", "yellow")
    drawn = lab.rng.integers(len(colours), size=len(words)).tolist()
    return read([{"prompt": f"colour of {word}", "completion": colours[i]}
                 for word, i in zip(words, drawn, strict=True)])


def encoded(lab: Lab, rows: Examples) -> list[Encoded]:
    template = Template.parse({"layout": Layout.PROMPT, "style": "plain", "max_tokens": 256})
    return template.encode_all(rows, lab.tokenizer())
