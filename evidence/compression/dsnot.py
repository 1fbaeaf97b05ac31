"""Exchanging pruned for kept weights mends a pruned model without training."""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded


@claim(
    papers=(24,),
    says="At the same sparsity, and without a change of any weight that is kept, the embeddings of a sentence "
         "encoder pruned by Wanda are nearer to those of the whole encoder after DSnoT has exchanged pruned for kept "
         "weights, even if Wanda alone may see up to three times as many texts.",
    holds_if=("apart: dsnot < wanda",),
    arms={"dsnot": {"refine": "dsnot"}, "wanda": {"refine": "none"}},
    search={"dsnot": {"cycles": (3, 10, 30)}, "wanda": {"texts": (24, 48, 72)}}, tuned_for="apart",
    methods=("compression/dsnot", "compression/wanda"),
    minutes=3,
)
def dsnot(lab: Lab, *, refine: str, cycles: int = 1, texts: int = 24) -> dict[str, float]:
    seen, _, test, _ = lab.classes("vader-films", per_class=lab.scale(texts, 4), test=lab.scale(64, 8))
    encoder = lab.minilm()
    encoder.model.float()
    read = encoder.tokenizer(seen, truncation=True, max_length=48)["input_ids"]
    before = lab.directions(encoder, test, max_tokens=48)
    method = build("compression", "wanda", {"refine": refine, "sparsity": "60%", "cycles": lab.scale(cycles, 2)})
    method.apply(encoder.model, [Encoded(ids, [True] * len(ids)) for ids in read])
    return {"apart": 1 - float((before * lab.directions(encoder, test, max_tokens=48)).sum(axis=1).mean())}
