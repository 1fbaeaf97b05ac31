"""Skills that learn at their own pace deserve their own share of the labels."""

from __future__ import annotations

import numpy as np

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.planning.curves import Fitted, Point, allocated
from scrimp.signals.embeddings import embed_texts
from scrimp.tuning.heads.logistic import regress

SKILLS = {"vehicles": ("rec.autos", "rec.motorcycles"), "sports": ("rec.sport.baseball", "rec.sport.hockey"),
          "beliefs": ("alt.atheism", "soc.religion.christian"), "machines": ("comp.sys.mac.hardware", "comp.windows.x"),
          "sciences": ("sci.electronics", "sci.med")}
KNOWN, TOTAL, STEP = 32, 400, 20  # rows of each skill that its law knows; rows to give out
ROWS, TESTED = 300, 200           # of each newsgroup
STRENGTH = 16.0                   # of all heads


@claim(
    papers=(209,),
    says="Five skills, each telling two newsgroups apart by frozen features: some saturate with few rows, others go "
         "on. Laws fitted to what 32 rows of each give allocate 400 rows so that the mean log-loss is lower than if "
         "each skill gets as many, and than if the rows are given out by chance.",
    holds_if=("loss: allocated < uniform", "loss: allocated < chance"),
    arms={name: {"how": name} for name in ("allocated", "uniform", "chance")},
    methods=("curve/learning-curve",),
    minutes=2,
)
def own_pace(lab: Lab, *, how: str) -> dict[str, float]:
    data = {name: _rows(lab, pair) for name, pair in SKILLS.items()}

    def loss(name: str, learned: slice) -> float:
        (x, y), (test_x, test_y) = data[name]
        if len(set(y[learned])) < 2:
            return float(np.log(2))
        _, weight, bias, _ = regress(x[learned], y[learned], seed=lab.seed, strength=STRENGTH)
        odds = test_x @ weight.T + bias
        return float(np.mean(np.logaddexp.reduce(odds, axis=1) - odds[np.arange(len(test_y)), test_y]))

    def law(name: str) -> Fitted:
        seen = [Point({"rows": size}, loss(name, slice(part * size, (part + 1) * size)))
                for size in (4, 8, 16, 32) for part in range(min(4, KNOWN // size))]
        return build("curve", "learning-curve").fit(seen)

    if how == "allocated":
        given = allocated({name: law(name) for name in SKILLS}, TOTAL, step=STEP)
    elif how == "uniform":
        given = dict.fromkeys(SKILLS, TOTAL // len(SKILLS))
    else:
        drawn = lab.rng.integers(len(SKILLS), size=TOTAL // STEP)
        given = {name: STEP * int(np.sum(drawn == i)) for i, name in enumerate(SKILLS)}
    return {"loss": float(np.mean([loss(name, slice(max(rows, KNOWN))) for name, rows in given.items()])),
            **{f"rows of {name}": float(rows) for name, rows in given.items()}}


def _rows(lab: Lab, pair: tuple[str, str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Features of unit length and classes of rows to learn from, in an order of the seed, and of test rows."""
    found = []
    for part, most in (("train", lab.scale(ROWS, 60)), ("test", lab.scale(TESTED, 20))):
        rows = [(text, i) for i, name in enumerate(pair) for text in lab.texts(name, part)[:most]]
        x = embed_texts(lab.minilm(), [text for text, _ in rows], max_tokens=64, cache=cache().root / "lab-texts")
        order = np.random.default_rng(lab.seed).permutation(len(rows))
        found.append(((x / np.linalg.norm(x, axis=1, keepdims=True))[order], np.array([i for _, i in rows])[order]))
    return found
