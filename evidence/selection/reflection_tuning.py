"""Of two versions of a row, a student's own losses tell the good one, and what it chose is better to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.signals import Signals

PAIRS, TESTED = 144, 400
ASKED, TOLD = 14, 14  # words of a prompt, and of the answer that follows it
EPOCHS, BATCH, RATE = 4, 8, 1e-3
BAD = ("another", "disorder", "cut")  # what is wrong with an answer: it is another's, shuffled, or a quarter of it

Pair = tuple[str, str]  # a prompt and its answer


@claim(
    papers=(134,),
    says="Posts are cut into prompts and answers, and each stands beside a bad version; a teacher's rewrite is the "
         "good or the bad one, by chance. SmolLM2-135M tells the good answer more often than not, and more often than "
         "chance, by how well answers foretell their prompt, and the prompt that does not give the answer away by how "
         "little prompts help. A small model tuned on the answers that were chosen has a lower held-out loss than on "
         "all rewrites, on all originals and on one of the two by chance.",
    holds_if=("right: answers > 0.5", "right: answers > random", "right: prompts > 0.5", "loss: answers < rewrites",
              "loss: answers < originals", "loss: answers < random"),
    arms={"answers": {"name": "reflected-answers"}, "likeliest": {"name": "loss"}, "longest": {"name": "longest"},
          "prompts": {"name": "reflected-prompts", "of": "prompts"}, "random": {"name": "random"},
          "rewrites": {"name": "rewrites"}, "originals": {"name": "originals"}},
    methods=("selection/reflected-answers", "selection/reflected-prompts", "selection/loss", "selection/longest"),
    unequal="the small model learns from as many rows in all arms; what SmolLM2 looks at is on the bill, where it was "
            "not known yet, and of prompts nothing is learned",
    minutes=30,
)
def reflection_tuning(lab: Lab, *, name: str, of: str = "answers") -> dict[str, float]:
    pairs, test = cut(lab, lab.scale(PAIRS, 6)), cut(lab, lab.scale(TESTED, 8), part="test")
    good = lab.rng.permutation(len(pairs)) < len(pairs) // 2  # whether the rewrite is
    kinds = np.arange(len(pairs)) % len(BAD)
    bad = worse(lab, pairs, kinds) if of == "answers" else [(f"{asked} {told}", told) for asked, told in pairs]
    originals, rewrites = ([two[way] for two, way in zip(zip(pairs, bad, strict=True), places, strict=True)]
                           for places in (good.astype(int), 1 - good.astype(int)))
    chosen = choice(lab, name, originals, rewrites)
    right = chosen == good
    if of == "prompts":
        return {"right": float(right.mean())}
    rows = [(originals, rewrites)[took][place] for place, took in enumerate(chosen.astype(int).tolist())]
    model = lab.tune(lab.language_model(), encoded(lab, rows), adapter="full", learning_rate=RATE,
                     epochs=lab.scale(EPOCHS, 1), batch_size=BATCH)
    return {"right": float(right.mean()), "loss": lab.loss(model, encoded(lab, test)),
            **{kind: float(right[kinds == place].mean()) for place, kind in enumerate(BAD)}}


def choice(lab: Lab, name: str, originals: Sequence[Pair], rewrites: Sequence[Pair]) -> np.ndarray:
    """For each row whether its rewrite is taken, bool [N]."""
    count = len(originals)
    if name in ("originals", "rewrites", "random"):
        return lab.rng.random(count) < {"originals": 0.0, "rewrites": 1.0, "random": 0.5}[name]
    pool = read([{"prompt": asked, "completion": told} for asked, told in (*originals, *rewrites)])
    signals = Signals(workspace=cache(), meter=lab.meter)
    scores = build("selection", name).select(pool, count, signals=signals, seed=lab.seed).scores
    return scores[count:] > scores[:count]


def cut(lab: Lab, count: int, part: str = "train") -> list[Pair]:
    """The first words of posts, and those that follow."""
    texts = [words for text in lab.texts(part=part) if len(words := text.split()) >= ASKED + TOLD]
    drawn = (texts[i][:ASKED + TOLD] for i in np.random.default_rng(lab.seed).permutation(len(texts))[:count])
    return [(" ".join(words[:ASKED]), " ".join(words[ASKED:])) for words in drawn]


def worse(lab: Lab, pairs: Sequence[Pair], kinds: np.ndarray) -> list[Pair]:
    """The same prompts with answers that are no good."""
    made = []
    for place, ((asked, told), kind) in enumerate(zip(pairs, kinds.tolist(), strict=True)):
        words = told.split()
        other = {"another": pairs[place - 1][1].split(), "disorder": lab.rng.permutation(words).tolist(),
                 "cut": words[:max(1, len(words) // 4)]}[BAD[kind]]
        made.append((asked, " ".join(other)))
    return made


def encoded(lab: Lab, pairs: Sequence[Pair]) -> list[Any]:
    return lab.encoded([{"prompt": asked, "completion": f" {told}"} for asked, told in pairs])
