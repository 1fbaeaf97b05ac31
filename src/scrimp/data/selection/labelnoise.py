"""A selector that leaves out rows whose label is likely to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.data.selection.outoffold import out_of_fold
from scrimp.data.selection.scored import Scored
from scrimp.examples.records import Layout
from scrimp.tuning.heads.logistic import regress

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["LabelNoise", "label_trust", "shrunk", "sure_counts"]

_LEAST = 1e-6  # of a probability, so that nothing is impossible
_ROUNDS = 3
_STRENGTHS = (-2.0, 12.0)  # the logarithms that a concentration is looked for among


class LabelNoise(Scored):
    """Score a labelled row by the probability that its label is right.

    Probabilities ``q`` of labels come from logistic regression on embeddings, each fold's from a fit on the others,
    with more penalty than would foretell the labels best: a mistaken one is then less of a lesson for its neighbours.
    How labels are mistaken, ``T[given, true]``, is read off the rows that are surest to be of each kind. A classifier
    of mistaken labels learns the mistakes too, ``q(x) = T p(x)``, so they are taken back: ``p(x)`` is ``T^-1 q(x)``,
    brought back to probabilities, and ``score = p_y T[y, y] / sum_k p_k T[y, k]`` for a row labelled y. With what each
    row is then taken for T is counted anew, and so on, three times.

    Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", who count rows
    that are surer than most and rank all by ``q`` itself; the correction is that of Patrini et al. 2017, "Making Deep
    Neural Networks Robust to Label Noise: A Loss Correction Approach".

    Attributes:
        folds: parts of the pool.
        penalty: of the regression, over that with which it foretells labels best.
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    folds: int = Field(default=5, ge=2)
    penalty: float = Field(default=4.0, gt=0)

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        if pool.layout is not Layout.LABEL:
            raise OptionError("only labels can be wrong labels", where="layout", fix="give texts with labels")
        if len(pool.labels) < 2:
            return np.zeros(len(pool))
        given = np.array([pool.labels.index(row["label"]) for row in pool.rows])
        vectors = self.embedded(pool, signals)
        strength = regress(vectors, given, seed=seed)[3] / self.penalty
        return label_trust(out_of_fold(vectors, given, folds=self.folds, seed=seed, strength=strength), given)

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0}


def label_trust(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability that each row's label is right, float64 [N], of probabilities [N, C] that are out of fold.

    Each of the C labels is that of some row.
    """
    counts = sure_counts(probabilities, labels)
    for _ in range(_ROUNDS):
        taken = taken_for(probabilities, labels, shrunk(counts))
        counts = np.zeros_like(counts)
        np.add.at(counts, labels, taken)
    return taken_for(probabilities, labels, shrunk(counts))[np.arange(len(labels)), labels]


def taken_for(probabilities: np.ndarray, labels: np.ndarray, mistaken: np.ndarray) -> np.ndarray:
    """The probability of each true label, float64 [N, C], where labels are ``mistaken`` [given, true]."""
    true = np.maximum(probabilities @ np.linalg.pinv(mistaken).T, _LEAST)
    together = true * mistaken[labels]
    return together / together.sum(axis=1, keepdims=True)


def sure_counts(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often which label is given to the rows that are surest to be of a kind, float64 [given, kind].

    Of each kind they are half as many as have its label. Rows that a classifier is unsure of would not do: it takes
    kinds that are alike for each other, which looks like mistakes.
    """
    counts = np.zeros((probabilities.shape[1],) * 2)
    for kind, number in enumerate(np.bincount(labels)):
        surest = np.argsort(-probabilities[:, kind], kind="stable")[:-(-number // 2)]
        np.add.at(counts[:, kind], labels[surest], 1)
    return counts


def shrunk(counts: np.ndarray) -> np.ndarray:
    """Shares of each column [given, true], brought as near to those of all columns as counts of such a size allow.

    What columns have in common is the share of rows with a right label, and mistakes in any direction alike. A column
    is Dirichlet around it, of the concentration that makes the counts likeliest.
    """
    classes, right = len(counts), np.trace(counts) / counts.sum()
    usual = np.maximum(np.where(np.eye(classes, dtype=bool), right, (1 - right) / (classes - 1)), _LEAST)
    rows = counts.sum(axis=0)

    def unlikely(logarithm: float) -> float:
        a = np.exp(logarithm)
        columns = gammaln(a) - gammaln(a + rows) + (gammaln(a * usual + counts) - gammaln(a * usual)).sum(axis=0)
        return -float(columns.sum())

    strength = np.exp(minimize_scalar(unlikely, bounds=_STRENGTHS, method="bounded").x)
    return (counts + strength * usual) / (counts + strength * usual).sum(axis=0)


preset("label-noise", LabelNoise)
