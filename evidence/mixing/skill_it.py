"""Skills that build on each other are learned in fewer steps if what comes before is learned while it helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scrimp.data.mixing import gathered
from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded

BITS, SKILLS, ROWS = 8, 4, 3000
BATCH, STEPS, LOOKS, PROBES = 64, 400, 10, 16
LOOKED = LOOKS * PROBES * SKILLS // BATCH // 3  # what the looks take, in steps, which go backward as well
#: each skill is half of what the next one needs
CHAIN = {str(skill): {str(other): 1.0 for other in (skill, skill + 1) if other < SKILLS} for skill in range(SKILLS)}


@claim(
    papers=(14,),
    says="A small transformer learns four skills, each one step more of a chain of symbols: what is the product of the "
         "first k of eight signs? Weighted by the losses passed on along the chain, which is known, the skills bring "
         "more of the longest chains right than evenly mixed, than weighted by each skill's own loss, and than the "
         "longest chains alone, at equal cost.",
    holds_if=("hardest right: skill-it > uniform", "hardest right: skill-it > own-loss",
              "hardest right: skill-it > target-only"),
    arms={"skill-it": {"mixing": "skill-it", "options": {"graph": CHAIN}}, "uniform": {"mixing": "uniform"},
          "own-loss": {"mixing": "skill-it", "options": {}},
          "target-only": {"mixing": "fixed", "options": {"favoured": str(SKILLS - 1)}}},
    methods=("mixing/skill-it", "sampling/mixture"),
    minutes=4,
)
def skill_it(lab: Lab, *, mixing: str, options: dict[str, Any] | None = None) -> dict[str, float]:
    rows, domains = gathered({str(skill): chains(skill, lab.scale(ROWS, 100), lab.rng) for skill in range(SKILLS)})
    tested = [chains(skill, 1000, lab.rng) for skill in range(SKILLS)]
    follows = mixing == "skill-it"
    model = lab.scratch(layers=2, width=64)
    model.resize_token_embeddings(3 + SKILLS)  # type: ignore[operator]
    steps = lab.scale(STEPS, 4 * LOOKS) - LOOKED * follows
    model = lab.tune(model, rows, adapter="full", learning_rate=2e-3, batch_size=BATCH, sampling="mixture",
                     steps=steps, domains=domains, mixing=mixing, probes=PROBES,
                     mixing_options={**(options or {}), **({"looks": LOOKS} if follows else {})})
    right = [share_right(model, one) for one in tested]
    return {"hardest right": right[-1], "right": float(np.mean(right))}


def chains(skill: int, count: int, rng: np.random.Generator) -> list[Encoded]:
    """Signs as tokens 1 and 2, the skill's own token, and the product of its first signs."""
    signs = rng.integers(0, 2, (count, BITS))
    products = signs[:, :skill + 1].sum(1) % 2
    return [Encoded([*(1 + sign for sign in row), 3 + skill, 1 + product], [False] * (BITS + 1) + [True])
            for row, product in zip(signs.tolist(), products.tolist(), strict=True)]


def share_right(model: Any, rows: list[Encoded]) -> float:
    ids = torch.from_numpy(collate(rows, pad_id=0).input_ids)
    with torch.inference_mode():
        said = model(input_ids=ids[:, :-1]).logits[:, -1].argmax(-1)
    return float((said == ids[:, -1]).float().mean())
