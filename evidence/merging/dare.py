"""Four fifths of what a model has learned can be dropped at random, if what remains is rescaled."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim


@claim(
    papers=(577,),
    says="Of what a language model has learned on a domain, four fifths of the entries can be dropped at random: "
         "rescaled, the rest keeps at least three quarters of the gain, alone and averaged with two other domains; not "
         "rescaled, it keeps far less.",
    holds_if=("gain alone: dare > 0.75 * whole", "gain alone: dare > dropped + 0.1",
              "gain merged: dare > 0.75 * whole", "gain merged: dare > dropped"),
    arms={"dare": {"density": 0.2}, "whole": {"density": 1.0}, "dropped": {"density": 0.2, "rescale": False}},
    methods=("merging/dare",),
    minutes=8,
)
def dare(lab: Lab, *, density: float, rescale: bool = True) -> dict[str, float]:
    model, domains = lab.language_model(), lab.unseen[:3]
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    experts = {domain: lab.expert(domain).state_dict() for domain in lab.scale(domains, domains[:1])}
    held_out = {domain: lab.blocks(lab.texts(domain, "test"), count=lab.scale(20, 2)) for domain in experts}
    before = {domain: lab.loss(model, rows) for domain, rows in held_out.items()}

    def gains(merged: list[str], scale: float) -> float:
        """By how many nats a token the merge of these is better than the base, on average over their domains."""
        merge = build("merging", "dare", {"density": density, "rescale": rescale, "scale": scale})
        model.load_state_dict(dict(merge.apply([experts[domain] for domain in merged], base=base, seed=lab.seed)))
        return float(np.mean([before[domain] - lab.loss(model, held_out[domain]) for domain in merged]))

    return {"gain alone": float(np.mean([gains([domain], 1.0) for domain in experts])),
            "gain merged": gains(list(experts), 1 / len(experts))}
