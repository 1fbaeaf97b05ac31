"""Which features to learn on, told from few rows by a law that knows of what was learned before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.evidence import Lab, claim
from scrimp.planning.curves import Law, Point
from scrimp.signals.embeddings import embed_texts
from scrimp.tuning.heads.logistic import regress

GROUPS = ("sci.crypt", "sci.electronics", "sci.med", "sci.space")
KNOWN, ALL, TESTED = (16, 32, 64, 128), 2000, 800
STRENGTH = 16.0  # of all heads


@claim(
    papers=(123,),
    says="Ten sets of frozen features of newsgroup posts, of different width and kind, under linear heads: laws fitted "
         "to the losses after up to 128 rows rank them by their loss after 2,000 rows. The rectified law ranks them "
         "better than a pure power law and than the last loss that was seen, with a rank correlation over 0.7; "
         "accept-then-stop too ranks them better than the last loss.",
    holds_if=("correlation: rectified > power", "correlation: rectified > last", "correlation: rectified > 0.7",
              "correlation: stopped > last"),
    arms={"rectified": {"law": "rectified"}, "stopped": {"law": "accept-then-stop"}, "power": {"law": "power"},
          "last": {"law": "last"}},
    methods=("curve/rectified", "curve/accept-then-stop", "curve/power-law"),
    minutes=3,
)
def model_choice(lab: Lab, *, law: str) -> dict[str, float]:
    """The pure power law has no offset; nothing is tuned beneath the heads, which all have the same penalty."""
    from scipy.stats import spearmanr

    known, whole = KNOWN[:lab.scale(4, 3)], lab.scale(ALL, 200)
    train, test = ([(text, i) for i, name in enumerate(GROUPS) for text in lab.texts(name, part)]
                   for part in ("train", "test"))
    train = [train[i] for i in lab.rng.permutation(len(train))[:whole]]
    test = [test[i] for i in np.random.default_rng(0).permutation(len(test))[:lab.scale(TESTED, 50)]]
    labels, true = np.array([i for _, i in train]), np.array([i for _, i in test])
    told, came = [], []
    for x, test_x in _candidates(lab, [text for text, _ in train], [text for text, _ in test]):
        def loss(learned: slice, x: np.ndarray = x, test_x: np.ndarray = test_x) -> float:
            present, weight, bias, _ = regress(x[learned], labels[learned], seed=lab.seed, strength=STRENGTH)
            odds = np.full((len(true), len(GROUPS)), -20.0)
            odds[:, present] = test_x @ weight.T + bias
            return float(np.mean(np.logaddexp.reduce(odds, axis=1) - odds[np.arange(len(true)), true]))

        seen = [Point({"rows": size}, loss(slice(part * size, (part + 1) * size)))
                for size in known for part in range(min(4, known[-1] // size))]
        came.append(loss(slice(whole)))
        told.append(seen[-1].value if law == "last" else _law(law).fit(seen).predict({"rows": whole}).value)
    return {"correlation": float(spearmanr(told, came).statistic),
            "regret": came[int(np.argmin(told))] / min(came) - 1,
            "off": float(np.mean(np.abs(np.log(np.array(told) / came))))}


def _law(name: str) -> Law:
    return build("curve", "power-law", {"offset": False}) if name == "power" else build("curve", name)


def _candidates(lab: Lab, texts: list[str], test: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """MiniLM's features cut to some of their axes; words and letters hashed into few places or many."""
    from sklearn.feature_extraction.text import HashingVectorizer

    whole = [embed_texts(lab.minilm(), some, max_tokens=64, cache=cache().root / "lab-texts") for some in (texts, test)]
    for width in (12, 24, 48, 384):
        yield _unit(whole[0][:, :width]), _unit(whole[1][:, :width])
    for kind, ngrams in (("word", (1, 1)), ("char_wb", (3, 4))):
        for width in (128, 512, 2048):
            hashed = HashingVectorizer(analyzer=kind, ngram_range=ngrams, n_features=width)
            yield _unit(hashed.transform(texts).toarray()), _unit(hashed.transform(test).toarray())


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
