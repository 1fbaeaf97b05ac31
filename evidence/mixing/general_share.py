"""General rows among those of a domain keep what the model knew."""

from __future__ import annotations

from typing import Any

import numpy as np

from scrimp.data.mixing import gathered
from scrimp.evidence import Lab, claim

DOMAIN, GENERAL = "sci.med", ("rec.autos", "sci.electronics", "sci.space", "talk.politics.guns", "misc.forsale")
LENGTH, BATCH, STEPS = 64, 8, 60
RATE = 2e-3  # of the lab's own experts, tuned on one newsgroup; not searched, and the same for all arms
ROWS, TESTED = 500, 50


@claim(
    papers=(276,),
    says="A language model is tuned on a newsgroup that it has not seen, in the same number of steps with none, a "
         "quarter and half of the rows from those that it has. Its loss on the others ends lower with a quarter than "
         "with none, and lower still with half; a quarter costs the domain at most two per cent of its loss.",
    holds_if=("general loss: quarter < none", "general loss: half < quarter", "domain loss: quarter < 1.02 * none"),
    arms={"none": {"shares": (1.0,)}, "quarter": {"shares": None}, "half": {"shares": (0.5,)}},
    methods=("mixing/general-quarter", "sampling/mixture"),
    minutes=5,
)
def general_share(lab: Lab, *, shares: tuple[float, ...] | None) -> dict[str, float]:
    """Besides: by how much the general loss rose, as a share of what it was."""
    parts = {name: lab.blocks(lab.texts(name), LENGTH, ROWS // len(GENERAL)) for name in GENERAL}
    rows, domains = gathered({**parts, DOMAIN: lab.blocks(lab.texts(DOMAIN), LENGTH, ROWS)})
    held_out = {name: lab.blocks(lab.texts(name, "test"), LENGTH, lab.scale(TESTED, 4)) for name in (*GENERAL, DOMAIN)}
    model: Any = lab.language_model()
    before = _general(lab, model, held_out)
    options: dict[str, Any] = {"favoured": DOMAIN} | ({"shares": shares} if shares else {})
    model = lab.tune(model, rows, adapter="full", learning_rate=RATE, steps=lab.scale(STEPS, 4), batch_size=BATCH,
                     sampling="mixture", domains=domains, mixing="general-quarter", mixing_options=options)
    general = _general(lab, model, held_out)
    return {"general loss": general, "domain loss": lab.loss(model, held_out[DOMAIN]), "rise": general / before - 1}


def _general(lab: Lab, model: Any, held_out: dict[str, Any]) -> float:
    return float(np.mean([lab.loss(model, held_out[name]) for name in GENERAL]))
