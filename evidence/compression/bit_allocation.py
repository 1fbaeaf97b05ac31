"""Bits where they are needed."""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim


@claim(
    papers=(84,),
    says="At two bits a weight on average, a language model rounded to the nearest values predicts better if an "
         "integer programme gives out the bits among its layers than if all have as many.",
    holds_if=("loss: allocated < nearest",),
    arms={"nearest": {"method": "rtn"}, "allocated": {"method": "mixed-rtn"}},
    methods=("compression/mixed-rtn", "compression/rtn"),
    minutes=4,
)
def bit_allocation(lab: Lab, *, method: str) -> dict[str, float]:
    domains = [domain for domain in lab.domains() if domain not in lab.unseen]
    calibration = lab.blocks([text for domain in domains for text in lab.texts(domain)], count=lab.scale(8, 4))
    test = lab.blocks([text for domain in domains for text in lab.texts(domain, "test")], count=lab.scale(48, 4))
    options = {"bits": 2, "probes": lab.scale(4, 1), "widths": (1, 2, 3)}
    return {"loss": lab.loss(build("compression", method, options).apply(lab.language_model(), calibration), test)}
