"""What a model has learned of a task is added to one that was tuned on a domain, and less is forgotten than in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file

from scrimp.checkpoints.streaming import distinct
from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

DOMAIN = "rec.sport.hockey"
STEPS, BATCH = 60, 8  # as many as `lab.expert` takes
INSTRUCTION_RATE = 2e-4


@claim(
    papers=(262,),
    says="A language model was instructed to answer sums. Tuned on a domain next, it forgets much of that, even if "
         "gently; if instead the difference that the instruction made is added to the base tuned on the domain, it "
         "remembers more, and is as good on the domain as if it were tuned on it at full rate.",
    holds_if=("loss on instructions: re-adapt < gently", "loss on instructions: re-adapt < in-turn",
              "loss on the domain: re-adapt < gently", "loss on the domain: re-adapt < in-turn + 0.02"),
    arms={"re-adapt": {"how": "re-adapt", "strength": 0.7}, "in-turn": {"how": "in-turn", "strength": 5e-4},
          "gently": {"how": "in-turn", "strength": 1e-4}},
    methods=("merging/re-adapt",),
    minutes=10,
)
def re_adapt(lab: Lab, *, how: Literal["re-adapt", "in-turn"], strength: float) -> dict[str, float]:
    """``strength`` is the scale of both differences, or the learning rate on the domain."""
    base = distinct(lab.language_model())
    instructed = instruct(lab)
    model: Any = lab.language_model()
    if how == "re-adapt":
        domain = distinct(lab.language_model() if lab.smoke else lab.expert(DOMAIN))
        lab.spent(forward=STEPS * BATCH * 128, backward=STEPS * BATCH * 128)  # the expert's training, which is kept
        merge = build("merging", "re-adapt", {"scale": strength})
        model.load_state_dict(dict(merge.apply([instructed, domain], base=base)), strict=False)
    else:
        model.load_state_dict(instructed, strict=False)
        model = lab.tune(model, lab.blocks(lab.texts(DOMAIN), count=STEPS * BATCH), adapter="full", batch_size=BATCH,
                 learning_rate=strength, steps=lab.scale(STEPS, 2))
        lab.spent(forward=lab.scale(0, (STEPS - 2) * BATCH * 128), backward=lab.scale(0, (STEPS - 2) * BATCH * 128))
    rows = lab.scale(24, 2)
    task = lab.loss(model, lab.blocks(answers(lab, seed=10_000 + lab.seed, count=20 * rows), count=rows))
    domain_loss = lab.loss(model, lab.blocks(lab.texts(DOMAIN, "test"), count=rows))
    return {"loss on instructions": task, "loss on the domain": domain_loss}


def instruct(lab: Lab) -> dict[str, Any]:
    """The base tuned to answer sums: made once for each seed, for both arms."""

    def make(folder: Path) -> None:
        own = Lab(lab.seed)
        rows = own.blocks(answers(own, seed=own.seed, count=5000), count=STEPS * BATCH)
        tuned = own.tune(own.language_model(), rows, adapter="full", batch_size=BATCH,
                         learning_rate=INSTRUCTION_RATE, steps=lab.scale(STEPS, 2))
        save_file(distinct(tuned), folder / "weights.safetensors")

    kept = cache().step("instructed-model", [STEPS, BATCH, INSTRUCTION_RATE, lab.seed, lab.smoke], make)
    return load_file(kept / "weights.safetensors")


def answers(lab: Lab, *, seed: int, count: int) -> list[str]:
    return [f"question : what is {row['prompt'].removesuffix(' =')} ? answer : the sum is {row['completion'].strip()} ."
            for row in lab.sums(count, seed=seed)]
