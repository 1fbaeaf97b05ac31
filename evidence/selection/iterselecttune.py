"""A few judgements tell which other rows are hard, and hard rows teach more."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.signals import Signals

EASY = ("rec.autos", "sci.space", "talk.politics.guns")
CHARACTERS, LENGTH, BATCH, STEPS, POOL = 200, 64, 8, 24, 240


@claim(
    papers=(281,),
    says="Half of a pool are posts of a newsgroup that a small language model does not know, half of groups that it"
         " was trained on. A fifth is kept that a classifier finds hard, having seen the model's loss on a tenth; "
         "it holds more of the unknown group than a fifth by chance, and on posts of both halves it teaches the "
         "model more than that, drawn once or anew, than the longest, and at least as much as the whole pool in as "
         "many steps.",
    holds_if=("hard: judged > random + 0.1", "loss: judged < random", "loss: judged < redrawn",
              "loss: judged < longest", "loss: judged < whole + 0.005"),
    arms={"judged": {"name": "iterselecttune"}, "random": {"name": "random"}, "redrawn": {"name": "random", "draws": 2},
          "longest": {"name": "longest"}, "all-judged": {"name": "loss", "rule": "highest"},
          "whole": {"name": "random", "share": 1.0}},
    methods=("selection/iterselecttune", "selection/loss", "selection/longest", "selection/random"),
    unequal="the model is tuned as long in all arms; what scoring costs beside is on the bill",
    minutes=3,
)
def iterselecttune(lab: Lab, *, name: str, draws: int = 1, share: float = 0.2, **options: Any) -> dict[str, float]:
    count = lab.scale(POOL, 40)
    hard = (lab.unseen[lab.seed % len(lab.unseen)],)
    pool = posts(lab, "train", {"easy": EASY, "hard": hard}, count)
    with TemporaryDirectory() as folder:
        lab.language_model().save_pretrained(Path(folder))  # type: ignore[operator]
        lab.tokenizer().save_pretrained(folder)
        signals = Signals(model=folder, meter=lab.meter)
        kept = [build("selection", name, options).select(pool, round(share * count), signals=signals,
                                                         seed=lab.seed + 100 * n).indices for n in range(draws)]
    blocks = [block for rows in kept for block in lab.blocks([pool.rows[i]["text"] for i in rows], LENGTH)]
    model = lab.tune(lab.language_model(), blocks, adapter="full", learning_rate=1e-3, steps=lab.scale(STEPS, 2),
                     batch_size=BATCH)
    test = posts(lab, "test", {"easy": EASY, "hard": hard}, lab.scale(120, 20))
    found = np.mean([pool.sources[i] == "hard" for rows in kept for i in rows])
    return {"loss": lab.loss(model, lab.blocks([row["text"] for row in test.rows], LENGTH)), "hard": float(found)}


def posts(lab: Lab, part: str, kinds: dict[str, tuple[str, ...]], count: int) -> Examples:
    """As many posts of each kind of groups, ``count`` in all, in any order and of any length."""
    rows = []
    for kind, groups in kinds.items():
        texts = [text for group in groups for text in lab.texts(group, part) if len(text) > CHARACTERS]
        rows += [(kind, text[:lab.rng.integers(CHARACTERS // 2, CHARACTERS)])
                 for text in lab.rng.permutation(texts)[:count // len(kinds)].tolist()]
    rows = [rows[i] for i in lab.rng.permutation(len(rows))]
    found = read([{"text": text} for _, text in rows])
    return Examples(found.rows, found.layout, tuple(kind for kind, _ in rows))
