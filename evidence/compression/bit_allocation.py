"""Bits where they are needed.

Nothing is searched: rounding to the nearest has no options, and the programme has one answer.
"""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.templates import Encoded


@claim(
    papers=(84,),
    says="At four bits a weight on average, the embeddings of a sentence encoder rounded to the nearest values are "
         "nearer to those of the whole encoder if an integer programme gives out the bits among its layers than if all "
         "have as many.",
    holds_if=("apart: allocated < nearest",),
    arms={"nearest": {"method": "rtn"}, "allocated": {"method": "mixed-rtn"}},
    methods=("compression/mixed-rtn", "compression/rtn"),
    minutes=3,
)
def bit_allocation(lab: Lab, *, method: str) -> dict[str, float]:
    texts, _, test, _ = lab.classes("vader-films", per_class=4, test=lab.scale(128, 8))
    encoder = lab.minilm()
    encoder.model.float()
    read = encoder.tokenizer(texts, truncation=True, max_length=32)["input_ids"]
    before = lab.directions(encoder, test, max_tokens=32)
    options = {"bits": 4, "widths": lab.scale((3, 4, 5, 6), (3, 5)), "probes": lab.scale(4, 1)}
    build("compression", method, options).apply(encoder.model, [Encoded(ids, [True] * len(ids)) for ids in read])
    return {"apart": 1 - float((before * lab.directions(encoder, test, max_tokens=32)).sum(axis=1).mean())}
