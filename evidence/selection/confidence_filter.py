"""A model finds wrong answers by its own doubts."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.metrics import roc_auc_score

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.signals import Signals

ROWS, ASKED, TOLD = 160, 100, 220  # rows; where a post's beginning ends, and its continuation
WRONG, SPOILED = 0.3, 0.7  # answers, and words of each
BATCH, STEPS = 8, 40


@claim(
    papers=(15,),
    says="A small language model is tuned to continue posts of a newsgroup that it does not know; in three "
         "continuations in ten, seven words in ten are wrong. Its confidence before tuning tells right from wrong "
         "ones, and tuned on the half that it is surer of it continues posts better than tuned on all, on a half by"
         " chance, drawn once or anew, or on the longest.",
    holds_if=("auroc: confidence > 0.7", "loss: confidence < raw", "loss: confidence < random",
              "loss: confidence < redrawn", "loss: confidence < longest"),
    arms={"confidence": {"name": "confidence"}, "likely": {"name": "loss"}, "raw": {"name": "random", "share": 1.0},
          "random": {"name": "random"}, "redrawn": {"name": "random", "draws": 2}, "longest": {"name": "longest"}},
    methods=("selection/confidence", "selection/loss", "selection/longest", "selection/random"),
    unequal="the model is tuned as long in all arms; the pass that its confidence takes is on the bill",
    minutes=3,
)
def confidence_filter(lab: Lab, *, name: str, share: float = 0.5, draws: int = 1) -> dict[str, float]:
    domain = lab.unseen[lab.seed % len(lab.unseen)]
    count = lab.scale(ROWS, 20)
    wrong = lab.rng.permutation(count) < WRONG * count
    pool, test = continuations(lab, domain, "train", wrong), continuations(lab, domain, "test", np.zeros(count, bool))
    with TemporaryDirectory() as folder:
        lab.language_model().save_pretrained(Path(folder))  # type: ignore[operator]
        lab.tokenizer().save_pretrained(folder)
        signals = Signals(model=folder, meter=lab.meter)
        chosen = [build("selection", name).select(pool, round(share * count), signals=signals, seed=lab.seed + 100 * n)
                  for n in range(draws)]
        encoded, held_out = signals.encoded(pool), signals.encoded(test)
    rows = [encoded[i] for one in chosen for i in one.indices]
    model = lab.tune(lab.language_model(), rows, adapter="full", learning_rate=2e-3, batch_size=BATCH,
                     steps=lab.scale(STEPS, 2))
    scores = chosen[0].scores
    return {"loss": lab.loss(model, held_out), "auroc": 0.5 if scores is None else float(roc_auc_score(~wrong, scores))}


def continuations(lab: Lab, domain: str, part: str, wrong: np.ndarray) -> Examples:
    """The beginnings of posts and how they go on; where that is ``wrong``, with some words of any posts in it."""
    posts = [text for text in lab.texts(domain, part) if len(text) > ASKED]
    drawn, words = lab.rng.permutation(posts)[:len(wrong)].tolist(), np.unique(" ".join(posts).split())

    def spoiled(text: str) -> str:
        return " ".join(str(lab.rng.choice(words)) if lab.rng.random() < SPOILED else word for word in text.split())

    told = [text[ASKED:TOLD] for text in drawn]
    return read([{"prompt": text[:ASKED], "completion": spoiled(answer) if bad else answer}
                 for text, answer, bad in zip(drawn, told, wrong, strict=True) if answer.strip()])
