"""Many rules with a few rows each teach to follow unseen ones; many rows of a few rules do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scrimp.core.registry import build
from scrimp.data.mixing import Domains, drawn_rows
from scrimp.evidence import Lab, claim
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded

LETTERS, LENGTH, UNSEEN = 12, 8, 36  # of 132 rules
BATCH, STEPS, LARGEST, FEW = 32, 450, 20_000, 4


@claim(
    papers=(173,),
    says="A small transformer reads a rule, to write one letter for another, and a string that it is to rewrite. Of 96 "
         "rules the largest has 20,000 rows, and the others fewer and fewer. With as many rows in all, it rewrites "
         "strings by unseen rules better if the rules come as evenly as their rows allow than if each comes by its "
         "size, and far better than if the four largest come alone.",
    holds_if=("right by unseen rules: diversity-first > proportional", "right by unseen rules: diversity-first > few"),
    arms={"diversity-first": {"mixing": "diversity-first"}, "proportional": {"mixing": "proportional"},
          "few": {"mixing": "proportional", "rules": FEW}},
    methods=("mixing/diversity-first", "mixing/proportional"),
    minutes=4,
)
def diversity(lab: Lab, *, mixing: str, rules: int | None = None) -> dict[str, float]:
    known = lab.rng.permutation([(a, b) for a in range(LETTERS) for b in range(LETTERS) if a != b])
    unseen, seen = known[:UNSEEN], known[UNSEEN:][:rules]
    budget = lab.scale(STEPS, 4) * BATCH
    sizes = {str(rank): round(LARGEST / (rank + 1) ** 1.5) for rank in range(len(seen))}
    drawn = drawn_rows(build("mixing", mixing), Domains(sizes, 1, budget), seed=lab.seed)
    counts = {name: [row for domain, row in drawn if domain == name] for name in sizes}
    rows = [row for name, chosen in counts.items() for row in rewritten(seen[int(name)], len(chosen), lab.rng)]
    model = lab.scratch(layers=2, width=64)
    model.resize_token_embeddings(3 + LETTERS)  # type: ignore[operator]
    model = lab.tune(model, rows, adapter="full", learning_rate=4e-3, epochs=1, batch_size=BATCH, micro_tokens=8192)
    tested = [row for rule in unseen for row in rewritten(rule, 10, lab.rng)]
    return {"right by unseen rules": share_right(model, tested),
            "rules": float(sum(map(bool, counts.values())))}


def rewritten(rule: Any, count: int, rng: np.random.Generator) -> list[Encoded]:
    """``a > b = string = the string with each a as b``; every string holds the letter that is replaced."""
    old, new = (int(letter) for letter in rule)
    strings = rng.integers(0, LETTERS, (count, LENGTH))
    strings[np.arange(count)[:, None], rng.permuted(np.tile(np.arange(LENGTH), (count, 1)), axis=1)[:, :2]] = old
    answers = np.where(strings == old, new, strings)
    return [Encoded([3 + old, 1, 3 + new, 2, *given, 2, *wanted],
                    [False] * (5 + LENGTH) + [True] * LENGTH)
            for given, wanted in zip((3 + strings).tolist(), (3 + answers).tolist(), strict=True)]


def share_right(model: Any, rows: list[Encoded]) -> float:
    """Of the letters that the rule replaces."""
    ids = torch.from_numpy(collate(rows, pad_id=0).input_ids)
    with torch.inference_mode():
        said = model(input_ids=ids[:, :-1]).logits[:, -LENGTH:].argmax(-1)
    given, wanted = ids[:, 4:4 + LENGTH], ids[:, -LENGTH:]
    return float((said == wanted)[given != wanted].float().mean())
