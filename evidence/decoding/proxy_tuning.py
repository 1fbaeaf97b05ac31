"""What tuning changes in a small model's logits shifts a large one that was never tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from transformers import LlamaForCausalLM

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.serving.decoding import Combined

DOMAIN = "rec.sport.hockey"
SMALL = {"layers": 2, "width": 64, "heads": 2}
PRETRAINING = {"steps": 500, "batch_size": 8, "learning_rate": 3e-3}
TUNING = {"steps": 100, "batch_size": 8, "learning_rate": 2e-3}


@claim(
    papers=(174, 122),
    says="A language model is shifted by the difference that tuning on a domain made in the logits of one a seventh "
         "of its size: on the domain it is better than before and than the small tuned one, and more than half as much "
         "better as if it had been tuned itself.",
    holds_if=("loss: shifted < large", "loss: shifted < small", "share of the tuned model's gain: shifted > 0.5"),
    arms={"shifted": {"model": "shifted"}, "large": {"model": "large"}, "small": {"model": "small"}},
    methods=("decoding/proxy-tuning", "decoding/emulated-fine-tuning"),
    unequal="that the large model is not trained is what is claimed; the shifted one costs the small one's tuning",
    minutes=6,
)
def proxy_tuning(lab: Lab, *, model: Literal["shifted", "large", "small"]) -> dict[str, float]:
    held_out, large = lab.blocks(lab.texts(DOMAIN, "test"), count=lab.scale(24, 2)), lab.language_model()
    before = lab.loss(large, held_out)
    if model == "large":
        return {"loss": before}
    tuned = lab.tune(small(lab), lab.blocks(lab.texts(DOMAIN), count=800), adapter="full",
                     **{**TUNING, "steps": lab.scale(TUNING["steps"], 2)})
    if model == "small":
        return {"loss": lab.loss(tuned, held_out)}
    shifted = lab.loss(Combined(build("decoding", "proxy-tuning"), [large, tuned, small(lab)]), held_out)
    gain = before - lab.loss(large if lab.smoke else lab.expert(DOMAIN), held_out)
    return {"loss": shifted, "share of the tuned model's gain": (before - shifted) / (gain or 1)}


def small(lab: Lab) -> Any:
    """A decoder of 0.36 million parameters, trained on the newsgroups that `lab.language_model` was trained on."""
    if lab.smoke:
        return lab.scratch(**SMALL)

    def make(folder: Path) -> None:
        own = Lab(0)
        texts = [text for domain in own.domains() if domain not in own.unseen for text in own.texts(domain)]
        rows = own.blocks(texts, count=int(PRETRAINING["steps"] * PRETRAINING["batch_size"]))
        own.tune(own.scratch(**SMALL), rows, adapter="full", **PRETRAINING).save_pretrained(folder)

    return LlamaForCausalLM.from_pretrained(cache().step("proxy-small-model", [SMALL, PRETRAINING], make))
