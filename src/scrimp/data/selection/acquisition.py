"""Active learning: which rows to have labelled next, from what the labelled ones have taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.registry import Cost, preset
from scrimp.data.selection.bandit import StrategyBandit
from scrimp.data.selection.base import Selection, Selector
from scrimp.data.selection.target import best_first, demanded, directions
from scrimp.examples.records import Layout
from scrimp.tuning.heads import Logistic

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Acquisition", "Strategy", "Tailor", "View", "balanced", "ranked", "spread", "uncertainty"]

Strategy = Literal["entropy", "margin", "confidence", "coreset", "badge", "random"]


class Acquisition(Selector):
    """Keep the rows whose labels would teach a classifier most; the target holds the rows that are labelled already.

    The classifier is logistic regression on the embeddings of the target. Rows may be those of which it is least sure:
    by the entropy of its probabilities, by the margin between the two highest, or by the highest (Settles 2009, "Active
    Learning Literature Survey"); those farthest from all that is labelled (Sener and Savarese 2018, "Active Learning
    for Convolutional Neural Networks: A Core-Set Approach"); or those of long and differing gradients, drawn as
    k-means++ draws its centres (Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower
    Bounds", BADGE).

    Rows that are hardest tend to be of few classes. With ``balance`` the strategy only proposes, and of what it
    proposes the next row is the first of those whose predicted class has been labelled and kept least. Bang et al.
    2024, "Active Prompt Learning in Vision Language Models" (PCB).

    Attributes:
        strategy: by what rows are ranked.
        balance: whether predicted classes are kept in balance.
        proposed: share of the pool that the strategy proposes for that; at least as many as are kept.
    """

    strategy: Strategy = "margin"
    balance: bool = False
    proposed: float = Field(default=0.1, gt=0, le=1)

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        view, rng = View.of(pool, demanded(target, self.name), signals, seed), np.random.default_rng(seed)
        if self.balance:
            proposals = ranked(self.strategy, view, max(keep, round(self.proposed * len(pool))), rng)
            kept = proposals[balanced(view.predicted[proposals], view.counts, keep)]
        else:
            kept = ranked(self.strategy, view, keep, rng)
        return Selection(kept, why=f"{len(set(view.predicted[kept].tolist()))} of the {len(view.counts)} labelled "
                                   f"classes are predicted among them")

    def cost(self) -> Cost:
        return Cost(forward=1)


class Tailor(Selector):
    """Let chance decide between strategies of acquisition, by how rare the classes are that each of them finds.

    Of the share of class c among the rows that a strategy proposes there is a Beta distribution. For each row a share
    is drawn for all strategies and classes; the strategy with the highest sum of shares, each divided by how often its
    class is labelled, gives its next row. Zhang et al. 2023, "Algorithm Selection for Deep Active Learning with
    Imbalanced Datasets" (TAILOR). Within one call nobody labels, so the classes that are found are the predicted ones;
    a loop with labels between its calls has more of `StrategyBandit`.

    Attributes:
        strategies: that are chosen between.
    """

    strategies: tuple[Strategy, ...] = Field(default=get_args(Strategy), min_length=1)

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        view, rng = View.of(pool, demanded(target, self.name), signals, seed), np.random.default_rng(seed)
        lists = [iter(ranked(strategy, view, keep, rng)) for strategy in self.strategies]
        bandit, counts, predicted = StrategyBandit(len(lists), len(view.counts)), view.counts.copy(), view.predicted
        kept, free = np.zeros(keep, dtype=np.int64), np.ones(len(pool), dtype=bool)
        for place in range(keep):
            arm = bandit.draw(counts, rng)
            kept[place] = row = next(i for i in lists[arm] if free[i])
            bandit.learn([arm], [predicted[row]])
            counts[predicted[row]] += 1
            free[row] = False
        favourite = self.strategies[int(bandit.drawn.argmax())]
        return Selection(kept, why=f"of the strategies, '{favourite}' was drawn most often")

    def cost(self) -> Cost:
        return Cost(forward=1)


@dataclass(frozen=True)
class View:
    """What a classifier that has learned the labelled rows sees of the pool.

    Attributes:
        vectors: float64 [N, D], of unit length.
        chances: float64 [N, C], of the classes that are labelled.
        labelled: float64 [L, D], of unit length.
        counts: int64 [C], labelled rows of each class.
    """

    vectors: np.ndarray
    chances: np.ndarray
    labelled: np.ndarray
    counts: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each row, int64 [N]."""
        return self.chances.argmax(axis=1)

    @classmethod
    def of(cls, pool: Examples, labelled: Examples, signals: Signals, seed: int) -> View:
        """Raises: OptionError: if rows of the target have no labels."""
        if labelled.layout is not Layout.LABEL or any("label" not in row for row in labelled.rows):
            raise OptionError("the rows that are labelled already must have labels", where="target",
                              fix="give rows with a text and a label")
        rows, known = (directions(signals.embeddings(part).astype(np.float64)) for part in (pool, labelled))
        number = {label: i for i, label in enumerate(labelled.labels)}
        classes = np.array([number[row["label"]] for row in labelled.rows])
        chances = np.ones((len(rows), 1))
        if len(number) > 1:
            chances = np.exp(Logistic().fit(known, classes, classes=len(number), seed=seed).log_probabilities(rows))
        return cls(rows, chances, known, np.bincount(classes, minlength=len(number)))


def ranked(strategy: Strategy, view: View, keep: int, rng: np.random.Generator) -> np.ndarray:
    """``keep`` rows of the pool, the best first."""
    if strategy == "random":
        return rng.permutation(len(view.vectors))[:keep]
    if strategy == "coreset":
        return spread((view.vectors,), keep, known=view.labelled)
    if strategy == "badge":
        return spread((view.chances - np.eye(view.chances.shape[1])[view.predicted], view.vectors), keep, rng=rng)
    return best_first(uncertainty(strategy, view.chances), keep)


def uncertainty(strategy: Strategy, chances: np.ndarray) -> np.ndarray:
    """By "entropy", "margin" or "confidence" of the probabilities [N, C]; the higher, the less sure."""
    if strategy == "entropy":
        return -(chances * np.log(np.maximum(chances, 1e-300))).sum(axis=1)
    highest = -np.sort(-chances, axis=1)
    if strategy == "confidence" or chances.shape[1] == 1:
        return -highest[:, 0]
    return highest[:, 1] - highest[:, 0]


def spread(factors: Sequence[np.ndarray], keep: int, *, known: np.ndarray | None = None,
           rng: np.random.Generator | None = None) -> np.ndarray:
    """``keep`` rows apart from one another: the farthest, again and again, or with ``rng`` drawn by squared distance.

    Args:
        factors: float64 [N, .] each; a row is the outer product of its factors, which is never made.
        known: rows [L, D] of the one factor, from which to be apart as well. Without them the longest row is first.
    """
    lengths = np.prod([np.square(factor).sum(axis=1) for factor in factors], axis=0)
    free, apart = np.ones(len(lengths), dtype=bool), np.full(len(lengths), np.inf)
    for other in () if known is None else known:
        apart = np.minimum(apart, lengths + other @ other - 2 * factors[0] @ other)
    kept = np.zeros(keep, dtype=np.int64)
    for place in range(keep):
        first = np.isinf(apart).all()
        weights = np.where(free, np.maximum(lengths if first else apart, 0.0), -1.0)
        kept[place] = row = int(weights.argmax()) if rng is None or first else _drawn(weights, rng)
        free[row] = False
        shared = np.prod([factor @ factor[row] for factor in factors], axis=0)
        apart = np.minimum(apart, lengths + lengths[row] - 2 * shared)
    return kept


def balanced(classes: np.ndarray, counts: np.ndarray, keep: int) -> np.ndarray:
    """Places of ``keep`` among proposals, the best first: in turn the first of the class that was counted least.

    Args:
        classes: of the proposals, int64 [P].
        counts: of each class so far, int64 [C].
    """
    waiting = {c: list(np.flatnonzero(classes == c)) for c in sorted(set(classes.tolist()))}
    so_far, kept = counts.copy(), np.zeros(keep, dtype=np.int64)
    for place in range(keep):
        least = min((c for c in waiting if waiting[c]), key=lambda c: (so_far[c], waiting[c][0]))
        kept[place] = waiting[least].pop(0)
        so_far[least] += 1
    return kept


def _drawn(weights: np.ndarray, rng: np.random.Generator) -> int:
    """A row drawn in proportion; where none of those left weighs anything, any of them. Negative ones are gone."""
    left = np.maximum(weights, 0.0)
    shares = left if left.sum() > 0 else (weights >= 0).astype(np.float64)
    return int(rng.choice(len(shares), p=shares / shares.sum()))


preset("acquire-entropy", Acquisition, strategy="entropy")
preset("acquire-margin", Acquisition, strategy="margin")
preset("acquire-coreset", Acquisition, strategy="coreset")
preset("badge", Acquisition, strategy="badge")
preset("pcb-entropy", Acquisition, papers=(542,), strategy="entropy", balance=True)
preset("pcb-coreset", Acquisition, papers=(542,), strategy="coreset", balance=True)
preset("pcb-badge", Acquisition, papers=(542,), strategy="badge", balance=True)
preset("tailor", Tailor, papers=(166,))
