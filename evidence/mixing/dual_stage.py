"""Special abilities first, then general ones with a little of the special."""

from __future__ import annotations

from scrimp.data.mixing import gathered
from scrimp.evidence import Lab, claim

GENERAL = ("rec.autos", "sci.electronics", "sci.space", "talk.politics.guns")
LENGTH, BATCH, STEPS = 32, 8, 240
RATE = 4e-3  # what the search of `rewarm` chose for most of its arms, on rows of 64 tokens; not searched here


@claim(
    papers=(191,),
    says="A small language model learns additions first and then newsgroups in which one row of 16 is still an "
         "addition. It keeps far more of the additions than without these rows, and predicts the newsgroups better "
         "than a model that learns both mixed all the way, with the same number of steps.",
    holds_if=("special loss: dual-stage < sequential", "general loss: dual-stage < mixed"),
    arms={"dual-stage": {"begins": (0.0, 0.5), "shares": (1.0, 1 / 16)},
          "sequential": {"begins": (0.0, 0.5), "shares": (1.0, 0.0)},
          "mixed": {"begins": (0.0,), "shares": (17 / 32,)}},
    methods=("mixing/dmt", "sampling/mixture"),
    minutes=3,
)
def dual_stage(lab: Lab, *, begins: tuple[float, ...], shares: tuple[float, ...]) -> dict[str, float]:
    def sums(count: int, seed: int) -> list[str]:
        drawn = lab.sums(count * 4, seed=seed)
        return ["".join(row["prompt"] + row["completion"] + "\n" for row in drawn[at:at + 4])
                for at in range(0, len(drawn), 4)]

    rows, domains = gathered({"sums": lab.blocks(sums(800, lab.seed), LENGTH, 600),
                              **{name: lab.blocks(lab.texts(name), LENGTH, 400) for name in GENERAL}})
    model = lab.tune(lab.scratch(layers=2, width=64), rows, adapter="full", learning_rate=RATE,
                     steps=lab.scale(STEPS, 8), batch_size=BATCH, sampling="mixture", domains=domains, mixing="dmt",
                     mixing_options={"favoured": "sums", "begins": begins, "shares": shares})
    general = [block for name in GENERAL for block in lab.blocks(lab.texts(name, "test"), LENGTH, lab.scale(40, 4))]
    return {"special loss": lab.loss(model, lab.blocks(sums(200, lab.seed + 10_000), LENGTH, lab.scale(100, 8))),
            "general loss": lab.loss(model, general)}
