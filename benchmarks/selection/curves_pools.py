"""The pools of the curves: real rows, of which some teach what is asked for later, and what learns from them.

A learner's own model gives every signal that a selector reads, unless the arm names an encoder, so that a pass over a
row costs the same share of learning from it as with a model of any other size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np

from scrimp.core.assets import cache, obtain
from scrimp.core.budget import Bill, Meter
from scrimp.evidence import Lab
from scrimp.examples.datasets import DATASETS
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, input_text
from scrimp.tuning.heads import Logistic

__all__ = ["BATCH", "EPOCHS", "POOLS", "SHAPE", "TARGET", "Drawn", "Frozen", "Known", "Language", "Learner", "Pool",
           "domains", "films", "instructions"]

EPOCHS, BATCH = 2, 8         #: of the language model
SHAPE = {"layers": 2, "width": 64, "heads": 2}  #: of the same
WORDS = 24                   # of a post
SHARE = 0.1                  # of a pool: what teaches the target
MISTAKEN = 0.3               # share of labels that are turned
TARGET, HELD_OUT = 16, 64    # rows of the language model's targets, and those that it is asked
LABELLED = 64                # film sentences whose labels are known to be right
EMBEDDED = 3072, 1024        # film sentences that are drawn from, and that are asked


@dataclass(frozen=True)
class Drawn:
    """A pool as one seed draws it.

    Attributes:
        pool: what is selected from.
        target: rows of what is asked for later; none is in the pool.
        test: what is asked.
        good: bool [N], the rows of the pool that an oracle keeps first.
    """

    pool: Examples
    target: Examples
    test: Examples
    good: np.ndarray


class Learner(Protocol):
    """What learns from rows that were kept; its model is where signals come from."""

    def signals(self, encoder: str | None = None) -> Any:
        """Of rows, by its own model, or embeddings by another; passes are on their own ``meter``."""

    def taught(self, rows: Examples, size: int, *, anew: bool = False) -> tuple[float, float]:
        """What it is worth after epochs of ``size`` of ``rows``, and the operations that it took.

        Args:
            rows: to learn from.
            size: of an epoch; if rows are fewer, they come again.
            anew: whether each epoch draws other rows; else ``rows`` are gone through in turn.
        """

    def extra(self, looked: Bill, training: float) -> float:
        """Operations of looking at the pool that ``training`` has not already paid for."""


@dataclass(frozen=True)
class Pool:
    """A pool by name.

    Attributes:
        about: what it holds, and what is asked.
        measure: of the learner, as the axis says it.
        better: its good direction.
        rows: of the pool.
        draw: a lab and the number of rows -> what its seed draws.
        learner: a lab, what was drawn and a setting -> what learns.
        arms: names of what is compared, see `benchmarks.selection.curves_arms.ARMS`.
        settings: of the learner, a learning rate or an inverse penalty, that are tried for rows by chance.
    """

    about: str
    measure: str
    better: Literal["lower", "higher"]
    rows: int
    draw: Callable[[Lab, int], Drawn]
    learner: Callable[[Lab, Drawn, float], Learner]
    arms: tuple[str, ...]
    settings: tuple[float, ...]


# -- what learns ---------------------------------------------------------------------------------------------------


class Language:
    """The lab's language model, all of it tuned; its states, averaged, are the embeddings.

    Args:
        lab: of the seed.
        drawn: what it is tested on.
        rate: of learning.
    """

    def __init__(self, lab: Lab, drawn: Drawn, rate: float) -> None:
        self._lab, self._rate = lab, rate
        self._loaded = lab.signals(lab.language_model(**SHAPE)).language()
        self._reading = self.signals()
        self._test = self._reading.encoded(drawn.test)

    def signals(self, encoder: str | None = None) -> Any:
        from scrimp.checkpoints.loading import Loaded
        from scrimp.signals import Signals

        loaded = self._loaded

        class OfLearner(Signals):
            def language(self, name: str | None = None) -> Loaded:
                return loaded

        return OfLearner(encoder or loaded.checkpoint, model=loaded.checkpoint, meter=Meter())

    def taught(self, rows: Examples, size: int, *, anew: bool = False) -> tuple[float, float]:
        lab = Lab(self._lab.seed, smoke=self._lab.smoke)
        drawing: dict[str, Any] = {"sampling": "rs2", "subset": size / len(rows)} if anew else {}
        model = lab.tune(lab.language_model(**SHAPE), self._reading.encoded(rows), adapter="full", batch_size=BATCH,
                         learning_rate=self._rate, steps=EPOCHS * -(-size // BATCH), **drawing)
        return lab.loss(model, self._test), lab.meter.close().flops

    def extra(self, looked: Bill, training: float) -> float:
        return looked.flops


class Known:
    """Signals of texts whose embeddings are known; each is billed when it is first asked for.

    Args:
        vectors: text -> its embedding.
        work: text -> the operations that it takes.
    """

    def __init__(self, vectors: Mapping[str, np.ndarray], work: Mapping[str, float]) -> None:
        self._vectors, self._work, self._paid = vectors, work, set[str]()
        self.meter = Meter()

    def embeddings(self, rows: Any) -> np.ndarray:
        texts = [input_text(row) for row in rows]
        self.meter.charge(flops=sum(self._work[text] for text in set(texts) - self._paid))
        self._paid.update(texts)
        return np.stack([self._vectors[text] for text in texts])


class Frozen:
    """Logistic regression on frozen embeddings by MiniLM; what costs are those of the rows that it learns from.

    Args:
        lab: of the seed.
        drawn: what it is tested on.
        strength: the inverse penalty.
        known: makes signals of all texts.
    """

    def __init__(self, lab: Lab, drawn: Drawn, strength: float, known: Callable[[], Known]) -> None:
        self._seed, self._test, self._strength, self._known = lab.seed, drawn.test, strength, known

    def signals(self, encoder: str | None = None) -> Known:
        return self._known()

    def taught(self, rows: Examples, size: int, *, anew: bool = False) -> tuple[float, float]:
        signals = self.signals()
        learned = rows.subset(range(min(size, len(rows))))
        features, labels = signals.embeddings(learned), _numbers(learned)
        flops, asked, right = signals.meter.close().flops, self._known().embeddings(self._test), _numbers(self._test)
        if len(set(labels.tolist())) < 2:  # there is nothing to tell apart
            return float((right == labels[0]).mean()), flops
        head = Logistic(strength=self._strength).fit(features, labels, classes=2, seed=self._seed)
        return float((head.predict(asked) == right).mean()), flops

    def extra(self, looked: Bill, training: float) -> float:
        return max(looked.flops - training, 0.0)


def _numbers(rows: Examples) -> np.ndarray:
    return np.array([row["label"] == "positive" for row in rows.rows], dtype=np.int64)


def _film_learner(lab: Lab, drawn: Drawn, strength: float) -> Frozen:
    vectors, work = _films_embedded()
    return Frozen(lab, drawn, strength, lambda: Known(vectors, work))


def _films_embedded() -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Of the film sentences, by MiniLM; kept in the cache."""
    texts = sorted({text for part in _film_parts() for text, _ in part})

    def make(folder: Any) -> None:
        from scrimp.checkpoints.loading import load, resolve
        from scrimp.signals.embeddings import EmbeddingPass
        from scrimp.signals.passes import run

        look, meter = EmbeddingPass(load(resolve("minilm"), dtype="float32")), Meter()
        np.save(folder / "vectors.npy", run(look, texts, meter=meter).values)
        bill, tokens = meter.close(), np.array(look.lengths(texts))
        np.save(folder / "work.npy", bill.flops / bill.tokens_forward * tokens)

    kept = cache().step("benchmark-films", texts, make)
    vectors, work = (np.load(kept / f"{name}.npy", allow_pickle=False) for name in ("vectors", "work"))
    return dict(zip(texts, vectors, strict=True)), dict(zip(texts, work.tolist(), strict=True))


# -- what is learned -----------------------------------------------------------------------------------------------


def domains(lab: Lab, rows: int) -> Drawn:
    """Short texts, of which one in ten is a film sentence; asked for are other film sentences.

    Of the rest one half is tweets, the other newsgroup posts.
    """
    few = round(SHARE * rows)
    asked = _some(lab, _sentences("vader-films", 1), HELD_OUT)
    taken = _some(lab, _sentences("vader-films"), few + TARGET)
    others = _some(lab, _sentences("vader-tweets"), (rows - few) // 2)
    others += _cut(lab, _seen(lab), rows - few - len(others))
    every = [*taken[TARGET:], *others]
    order = lab.rng.permutation(rows)
    return Drawn(_texts(every[i] for i in order), _texts(taken[:TARGET]), _texts(asked), order < few)


def instructions(lab: Lab, rows: int) -> Drawn:
    """Things to do, of which one in ten is an addition with the right sum; asked for are other additions.

    As many are additions with a wrong sum; of the rest one half is posts to be gone on with, the other film sentences
    to be judged.
    """
    few = round(SHARE * rows)
    sums = {row["prompt"]: row["completion"] for row in lab.sums(4 * (2 * few + TARGET + HELD_OUT))}
    added = [{"prompt": asked, "completion": told} for asked, told in sums.items()]
    target, test, right, others = (added[at:at + n] for at, n in (
        (0, TARGET), (TARGET, HELD_OUT), (TARGET + HELD_OUT, few), (TARGET + HELD_OUT + few, 2 * few)))
    wrong = [{"prompt": row["prompt"], "completion": other["completion"]} for row, other in pairwise(others)
             if row["completion"] != other["completion"]][:few]
    rest = rows - 2 * few
    halves = [text.split() for text in _cut(lab, _seen(lab), rest // 2)]
    going_on = [{"prompt": " ".join(words[:WORDS // 2]), "completion": " " + " ".join(words[WORDS // 2:])}
                for words in halves]
    judged = [{"prompt": f"{text.lower()} this is", "completion": f" {label}"}
              for text, label in _some(lab, _pairs("vader-films")[0], rest - rest // 2)]
    every = [*right, *wrong, *going_on, *judged]
    order = lab.rng.permutation(len(every))
    return Drawn(read([every[i] for i in order]), read(target), read(test), order < few)


def films(lab: Lab, rows: int) -> Drawn:
    """Film sentences with labels, three in ten of them turned; asked for are right ones, and 64 are given."""
    train, held_out = _film_parts()
    chosen = _some(lab, train, rows + LABELLED)
    turned = lab.rng.random(rows) < MISTAKEN
    other = {"positive": "negative", "negative": "positive"}
    pooled = [(text, other[label] if bad else label)
              for (text, label), bad in zip(chosen[LABELLED:], turned, strict=True)]
    return Drawn(_labelled(pooled), _labelled(chosen[:LABELLED]), _labelled(held_out), ~turned)


def _pairs(name: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return DATASETS[name].load(obtain(DATASETS[name].asset))


def _film_parts() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Some of the film sentences, always the same: what is drawn from, and what is asked."""
    known, asked = (_some(Lab(0), pairs, count) for pairs, count in zip(_pairs("vader-films"), EMBEDDED, strict=True))
    return known, asked


def _sentences(name: str, part: int = 0) -> list[str]:
    """Each once, and none longer than a post."""
    texts = (text for text, _ in _pairs(name)[part])
    return list(dict.fromkeys(text for text in texts if len(text.split()) <= WORDS))


def _seen(lab: Lab) -> list[str]:
    """Posts of groups that the language model was trained on."""
    return [text for group in lab.domains() if group not in lab.unseen for text in lab.texts(group)]


def _cut(lab: Lab, texts: list[str], count: int) -> list[str]:
    """The first words of some texts that have as many."""
    long = list(dict.fromkeys(" ".join(words[:WORDS]) for words in map(str.split, texts) if len(words) >= WORDS))
    return _some(lab, long, count)


def _some(lab: Lab, things: list[Any], count: int) -> list[Any]:
    return [things[i] for i in lab.rng.permutation(len(things))[:count]]


def _texts(texts: Any) -> Examples:
    return read([{"text": text} for text in texts])


def _labelled(pairs: list[tuple[str, str]]) -> Examples:
    return read([{"text": text, "label": label} for text, label in pairs])


_OF_ALL = ("random", "longest", "target", "oracle", "quality-classifier", "deita", "facility-location", "nearest",
           "got-d")
_OF_LANGUAGE = (*_OF_ALL, "redrawn", "loss", "miniplm", "rds", "less", "iterselecttune")
_RATES = (2e-3, 4e-3, 8e-3, 16e-3, 32e-3)

POOLS: dict[str, Pool] = {
    "films": Pool(
        "Film sentences to be called positive or negative, three labels in ten of which were turned. Asked for are "
        "right labels of other sentences; 64 sentences with right labels are the target.",
        "accuracy on held-out sentences", "higher", 2048, films, _film_learner,
        (*_OF_ALL, "label-noise", "badge"), (1 / 64, 1 / 16, 1 / 4, 1.0, 4.0)),
    "domains": Pool(
        "Short texts: a tenth are film sentences, the rest tweets and newsgroup posts. Asked for are other film "
        "sentences; 16 are the target. The language model has seen posts alone.",
        "nats a token of held-out sentences", "lower", 256, domains, Language, _OF_LANGUAGE, _RATES),
    "instructions": Pool(
        "Things to do: a tenth are additions with the right sum, a tenth additions with a wrong one, the rest posts to "
        "be gone on with and film sentences to be judged. Asked for are other additions; 16 right ones are the target.",
        "nats a token of held-out sums", "lower", 256, instructions, Language, (*_OF_LANGUAGE, "ifd"), _RATES),
}
