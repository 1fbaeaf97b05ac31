"""Rounding that is fitted layer by layer to what flows through.

Plain rounding has nothing to search: the rate of the fit changes nothing in it.
"""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim


@claim(
    papers=(84,),
    says="A language model rounded to two bits a weight predicts better if the rounding of each layer was fitted to "
         "the layer's own outputs on a few texts.",
    holds_if=("loss: fitted < nearest",),
    arms={"nearest": {"method": "rtn"}, "fitted": {"method": "adaquant"}},
    search={"rate": (0.01, 0.03, 0.1)}, tuned_for="loss",
    methods=("compression/adaquant", "compression/rtn"),
    minutes=4,
)
def adaquant(lab: Lab, *, method: str, rate: float) -> dict[str, float]:
    domains = [domain for domain in lab.domains() if domain not in lab.unseen]
    calibration = lab.blocks([text for domain in domains for text in lab.texts(domain)], count=lab.scale(32, 4))
    test = lab.blocks([text for domain in domains for text in lab.texts(domain, "test")], count=lab.scale(48, 4))
    options = {"bits": 2, "steps": lab.scale(60, 2), "rate": rate}
    return {"loss": lab.loss(build("compression", method, options).apply(lab.language_model(), calibration), test)}
