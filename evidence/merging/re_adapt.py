"""What a model has learned of a task is added to one that was tuned on a domain: more of both is there than in turn.

In turn, the rate decides how much of the task is forgotten for how much of the domain. Both arms are therefore judged,
and searched, by the mean of two shares: of what a model of the task gains on it over the base, and of what a model of
the domain gains on that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from scrimp.checkpoints.streaming import distinct
from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.evidence.lab import RECIPES

DOMAIN = "rec.sport.hockey"
STEPS, BATCH = 60, 4
INSTRUCTED, INSTRUCTION_RATE = 120, 1e-3  # steps


@claim(
    papers=(262,),
    says="A language model was instructed to answer sums. Tuned on a domain next, it forgets some of that, the more "
         "the faster it is tuned; if instead the difference that the instruction made is added to the base tuned on "
         "the domain, there is on average more of what either gained.",
    holds_if=("mean share: re-adapt > in-turn",),
    arms={"re-adapt": {"rate": 2e-3}, "in-turn": {"scale": None}},
    search={"re-adapt": {"scale": (0.6, 0.8, 1.0)}, "in-turn": {"rate": (2e-4, 1e-3, 5e-3)}},
    tuned_for="mean share", better="higher",
    methods=("merging/re-adapt",),
    minutes=6,
)
def re_adapt(lab: Lab, *, rate: float, scale: float | None) -> dict[str, float]:
    """``rate`` is that of the training on the domain, of the base if there is a ``scale`` of both differences."""
    base, instructed, model = distinct(lab.language_model()), instruct(lab), lab.language_model()
    count = lab.scale(96, 2)
    sums = lab.blocks(answers(lab, seed=10_000 + lab.seed, count=10 * count), count=count)
    posts = lab.blocks(lab.texts(DOMAIN, "test"), count=count)
    before = lab.loss(model, sums), lab.loss(model, posts)
    model.load_state_dict(instructed, strict=False)
    best = lab.loss(model, sums), lab.loss(Lab(0, smoke=lab.smoke).expert(DOMAIN), posts)
    model.load_state_dict(instructed if scale is None else base, strict=False)
    model = lab.tune(model, lab.blocks(lab.texts(DOMAIN), count=STEPS * BATCH), adapter="full", batch_size=BATCH,
                     learning_rate=rate, steps=lab.scale(STEPS, 2))
    if scale is not None:
        merge = build("merging", "re-adapt", {"scale": scale})
        model.load_state_dict(dict(merge.apply([instructed, distinct(model)], base=base)), strict=False)
    task, domain = ((b - lab.loss(model, rows)) / (b - a)
                    for a, b, rows in zip(best, before, (sums, posts), strict=True))
    return {"share of the task": task, "share of the domain": domain, "mean share": (task + domain) / 2}


def instruct(lab: Lab) -> dict[str, Any]:
    """The base tuned to answer sums, with as much ordinary text between them: made once for each seed."""

    def make(folder: Path) -> None:
        own, half = Lab(lab.seed, smoke=lab.smoke), INSTRUCTED * BATCH // 2
        ordinary = [text for domain in own.domains() if domain not in own.unseen for text in own.texts(domain)]
        sums = own.blocks(answers(own, seed=own.seed, count=40 * half), count=half)
        tuned = own.tune(own.language_model(), [*sums, *own.blocks(ordinary, count=half)], adapter="full",
                         batch_size=BATCH, learning_rate=INSTRUCTION_RATE, steps=lab.scale(INSTRUCTED, 2))
        save_file(distinct(tuned), folder / "weights.safetensors")

    asked = [RECIPES, INSTRUCTED, BATCH, INSTRUCTION_RATE, lab.seed, lab.smoke]
    return load_file(cache().step("instructed-model", asked, make) / "weights.safetensors")


def answers(lab: Lab, *, seed: int, count: int) -> list[str]:
    return [f"question : what is {row['prompt'].removesuffix(' =')} ? answer : the sum is {row['completion'].strip()} ."
            for row in lab.sums(count, seed=seed)]
