"""The average of models trained on single domains tells which domains to train on together."""

from __future__ import annotations

import copy
from itertools import combinations

import numpy as np
import torch

from scrimp.evidence import Lab, claim
from scrimp.planning.mixtures import foresee

DOMAINS = ("soc.religion.christian", "talk.politics.mideast", "rec.sport.hockey", "comp.graphics", "sci.med")
TARGET = "talk.religion.misc"
LENGTH, BATCH, STEPS = 32, 8, 30


@claim(
    papers=(69,),
    says="A small language model goes on to train on each of five newsgroups that it has not seen. Averages of the "
         "five models rank the ten pairs of groups by the loss on a sixth as training on each pair does: the rank "
         "correlation is over 0.7, and the pair ranked first is one of the two best. They rank them better than the "
         "mean of the two models' own losses.",
    holds_if=("correlation: average > 0.7", "rank of the first: average <= 2", "lead over mean loss: average > 0"),
    arms={"average": {}},
    methods=("merging/soup",),
    minutes=4,
)
def mixtures_foreseen(lab: Lab) -> dict[str, float]:
    from scipy.stats import spearmanr

    steps = lab.scale(STEPS, 2)
    base = lab.language_model(layers=2, width=64, share=0.5)
    blocks = {name: lab.blocks(lab.texts(name), LENGTH, steps * BATCH) for name in DOMAINS}
    tested = lab.blocks(lab.texts(TARGET, "test"), LENGTH, lab.scale(100, 4))

    def trained(names: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """On the first rows of each, as many rows in all whatever they are."""
        rows = [row for name in names for row in blocks[name][:steps * BATCH // len(names)]]
        model = lab.tune(copy.deepcopy(base), rows, adapter="full", learning_rate=2e-3, steps=steps, batch_size=BATCH)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    scale = copy.deepcopy(base)  # measures, so that training begins from the base each time

    def measure(weights: dict[str, torch.Tensor]) -> float:
        scale.load_state_dict(weights)
        return lab.loss(scale, tested)

    pairs = list(combinations(DOMAINS, 2))
    single = {name: trained((name,)) for name in DOMAINS}
    real = [measure(trained(pair)) for pair in pairs]
    foreseen = {tuple(one.mix): one.loss for one in foresee(single, [dict.fromkeys(p, 0.5) for p in pairs], measure)}
    alone = {name: measure(weights) for name, weights in single.items()}
    found, means = ([float(spearmanr(real, told).statistic) for told in (
        [foreseen[pair] for pair in pairs], [alone[a] + alone[b] for a, b in pairs])])
    first = min(pairs, key=lambda pair: foreseen[pair])
    return {"correlation": found, "lead over mean loss": found - means,
            "rank of the first": 1.0 + float(np.sum(np.array(real) < real[pairs.index(first)]))}
