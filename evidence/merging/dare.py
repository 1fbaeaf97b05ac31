"""Four fifths of what a model has learned can be dropped at random, if what remains is rescaled.

Nothing is searched: rescaling is a strength of the merge, so that a search for the best one would make the arms one.
"""

from __future__ import annotations

import numpy as np
import torch

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim

STEPS, BATCH = 60, 4


@claim(
    papers=(577,),
    says="Of what a language model has learned on a domain, four fifths of the entries can be dropped at random: "
         "rescaled, the rest keeps at least three quarters of the gain, alone and averaged with another domain's; not "
         "rescaled, it keeps far less.",
    holds_if=("share kept alone: dare > 0.75", "share kept alone: dare > dropped + 0.25",
              "share kept merged: dare > 0.75", "share kept merged: dare > dropped + 0.25"),
    arms={"dare": {"rescale": True}, "dropped": {"rescale": False}},
    methods=("merging/dare",),
    minutes=6,
)
def dare(lab: Lab, *, rescale: bool) -> dict[str, float]:
    model, domains = lab.language_model(), lab.unseen[: lab.scale(2, 1)]
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    experts = {domain: tuned(lab, domain) for domain in domains}
    held_out = {domain: lab.blocks(lab.texts(domain, "test"), count=lab.scale(40, 2)) for domain in domains}
    before = {domain: lab.loss(model, rows) for domain, rows in held_out.items()}

    def gain(merged: list[str], density: float, scale: float) -> float:
        """By how many nats a token the merge of these is better than the base, on average over their domains."""
        merge = build("merging", "dare", {"density": density, "rescale": rescale, "scale": scale})
        model.load_state_dict(dict(merge.apply([experts[domain] for domain in merged], base=base, seed=lab.seed)))
        return float(np.mean([before[domain] - lab.loss(model, held_out[domain]) for domain in merged]))

    def share(merged: list[list[str]], scale: float) -> float:
        """Of the gain of whole differences, how much a fifth of their entries gives."""
        kept, whole = (sum(gain(names, density, scale) for names in merged) for density in (0.2, 1.0))
        return kept / whole

    return {"share kept alone": share([[domain] for domain in domains], 1.0),
            "share kept merged": share([list(domains)], 1 / len(domains))}


def tuned(lab: Lab, domain: str) -> dict[str, torch.Tensor]:
    """The weights after fine-tuning on a domain, gently: the paper holds where differences are small."""
    rows = lab.blocks(lab.texts(domain), count=STEPS * BATCH)
    model = lab.tune(lab.language_model(), rows, adapter="full", batch_size=BATCH, learning_rate=5e-4,
                     steps=lab.scale(STEPS, 2))
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}
