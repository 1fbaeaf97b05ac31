"""Few rows whose gradients go with those of a target teach more of it than rows drawn by chance."""

from __future__ import annotations

from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Encoded, Template

STEPS, BATCH, RATE = 30, 4, 4e-3


@claim(
    papers=(10,),
    says="Of a pool in which one row in twenty is an addition with the right answer, as many with a wrong one, and the "
         "rest are newsgroup posts to be gone on with, one in twenty is kept toward twelve additions. A small language "
         "model that is tuned on what LESS keeps does better on other additions than one tuned on rows drawn by chance "
         "and no worse than one tuned on the whole pool; more of what it keeps is right than by chance, and no less "
         "than with plain gradients.",
    holds_if=("loss: less < random", "loss: less <= all", "right: less > random", "right: less >= plain"),
    arms={"less": {"method": "less"}, "plain": {"method": "less", "direction": "sgd"}, "random": {"method": "random"},
          "all": {"method": "random", "whole": True}},
    methods=("selection/less", "selection/random"),
    unequal="LESS passes over the pool forward and backward at two stages; the whole pool is learned once, the others "
            "repeat what is kept for two fifths as many steps.",
    minutes=4,
)
def less(lab: Lab, *, method: str, whole: bool = False, **options: str) -> dict[str, float]:
    each = lab.scale(15, 3)
    pool, right = mixture(lab, each)
    keep = len(pool) if whole else each
    if method == "less":
        options |= {"epochs": 2, "share": 0.1, "width": 96, "rank": 2, "learning_rate": 2e-3}  # type: ignore[dict-item]
    model = lab.language_model()
    signals = lab.signals(model)
    found = build("selection", method, options).select(pool, keep, signals=signals, target=sums(lab, 12, lab.seed + 1),
                                                       seed=lab.seed)
    steps = len(pool) // BATCH if whole else lab.scale(STEPS, 2)
    tuned = lab.tune(model, encoded(lab, pool.subset(found.indices)), adapter="full", learning_rate=RATE,
                     batch_size=BATCH, steps=steps)
    return {"loss": lab.loss(tuned, encoded(lab, sums(lab, lab.scale(100, 8), lab.seed + 2))),
            "right": float(sum(int(i) in right for i in found.indices) / keep)}


def mixture(lab: Lab, each: int) -> tuple[Examples, set[int]]:
    """The pool, and which of its rows are right additions."""
    right, others = sums(lab, each, lab.seed).rows, sums(lab, 2 * each, lab.seed + 3).rows
    wrong = [{"prompt": asked["prompt"], "completion": told["completion"]}
             for asked, told in zip(others[:each], others[each:], strict=True)]
    texts = lab.texts()
    posts = [texts[i].split() for i in lab.rng.permutation(len(texts))[:18 * each]]
    going_on = [{"prompt": " ".join(words[:12]), "completion": " " + " ".join(words[12:24] or ["the"])}
                for words in posts]
    order = lab.rng.permutation(20 * each)
    rows = [*right, *wrong, *going_on]
    return read([rows[i] for i in order]), {place for place, i in enumerate(order) if i < each}


def sums(lab: Lab, count: int, seed: int) -> Examples:
    return read([{"prompt": row["prompt"], "completion": row["completion"]} for row in lab.sums(count, seed=seed)])


def encoded(lab: Lab, rows: Examples) -> list[Encoded]:
    template = Template.parse({"layout": Layout.PROMPT, "style": "plain", "max_tokens": 256})
    return template.encode_all(rows, lab.tokenizer())
