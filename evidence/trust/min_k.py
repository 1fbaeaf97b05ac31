"""What a model was trained on has fewer surprises."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim


@claim(
    papers=(549,),
    says="The mean log-probability of the least likely fifth of its tokens tells texts that a language model was "
         "tuned on from others of the same kind, and at least as well as the loss does.",
    holds_if=("auroc: min-k > 0.55", "auroc: min-k >= loss - 0.01"),
    arms={"min-k": {"name": "min-k"}, "loss": {"name": "loss"}},
    methods=("audit/min-k", "audit/loss"),
    minutes=4,
)
def min_k(lab: Lab, *, name: str) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    blocks = lab.blocks(lab.texts(lab.unseen[0]), length=64, count=lab.scale(128, 16))
    seen, others = blocks[::2], blocks[1::2]
    model = lab.tune(lab.language_model(), seen, adapter="full", learning_rate=1e-3, epochs=lab.scale(4, 1),
                     batch_size=16)
    scores = build("audit", name).scores(model, [*seen, *others])
    return {"auroc": float(roc_auc_score(np.arange(len(scores)) < len(seen), scores))}
