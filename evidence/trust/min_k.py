"""What a model was trained on has fewer surprises."""

from __future__ import annotations

from typing import Any

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim


@claim(
    papers=(549,),
    says="The mean log-probability of their least likely tokens tells texts that a language model was tuned on from "
         "others of the same kind, and better than the loss does, weighed by the length of the zipped text or not.",
    holds_if=("auroc: min-k > 0.55", "auroc: min-k > loss"),
    arms={"min-k": {"name": "min-k"}, "loss": {"name": "loss"}},
    search={"min-k": {"lowest": (0.2, 0.4)}, "loss": {"weigh": ("tokens", "zlib")}}, tuned_for="auroc", better="higher",
    methods=("audit/min-k", "audit/loss"),
    minutes=4,
)
def min_k(lab: Lab, *, name: str, **options: Any) -> dict[str, float]:
    method = build("audit", name, options)
    return {"auroc": float(np.mean([told_apart(lab, domain, method) for domain in lab.unseen[:lab.scale(3, 1)]]))}


def told_apart(lab: Lab, domain: str, method: Any) -> float:
    """AUROC of the scores of posts that the model was tuned on, among others of the domain."""
    from sklearn.metrics import roc_auc_score

    blocks = lab.blocks(lab.texts(domain), length=64, count=lab.scale(256, 16))
    seen, others = blocks[::2], blocks[1::2]
    model = lab.tune(lab.language_model(), seen, adapter="full", learning_rate=3e-3, epochs=lab.scale(2, 1),
                     batch_size=16)
    scores = method.scores(model, [*seen, *others])
    return float(roc_auc_score(np.arange(len(scores)) < len(seen), scores))
