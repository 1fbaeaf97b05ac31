"""A selector that leaves out rows whose label is likely to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.data.selection.outoffold import out_of_fold
from scrimp.data.selection.scored import Scored
from scrimp.examples.records import Layout

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["LabelNoise", "confident_joint", "label_trust"]

_LEAST = 1e-6  # of a probability, so that nothing is impossible


class LabelNoise(Scored):
    """Score a labelled row by the probability that its label is right.

    Probabilities ``q`` of labels come from logistic regression on embeddings, each fold's from a fit on the others.
    Confident learning tells from them how labels are mistaken, ``T[given, true]``. A classifier of mistaken labels
    learns the mistakes too, ``q(x) = T p(x)``, so they are taken back: ``p(x)`` is ``T^-1 q(x)``, brought back to
    probabilities, and ``score = p_y T[y, y] / sum_k p_k T[y, k]`` for a row labelled y.

    Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", who rank rows by
    ``q`` itself; the correction is that of Patrini et al. 2017, "Making Deep Neural Networks Robust to Label Noise: A
    Loss Correction Approach".

    Attributes:
        folds: parts of the pool.
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    folds: int = Field(default=5, ge=2)

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        if pool.layout is not Layout.LABEL:
            raise OptionError("only labels can be wrong labels", where="layout", fix="give texts with labels")
        if len(pool.labels) < 2:
            return np.zeros(len(pool))
        given = np.array([pool.labels.index(row["label"]) for row in pool.rows])
        return label_trust(out_of_fold(self.embedded(pool, signals), given, folds=self.folds, seed=seed), given)

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0}


def label_trust(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability that each row's label is right, float64 [N], of probabilities [N, C] that are out of fold.

    Each of the C labels is that of some row.
    """
    counts = confident_joint(probabilities, labels)
    mistaken = counts / counts.sum(axis=0)
    true = np.maximum(probabilities @ np.linalg.pinv(mistaken).T, _LEAST)
    together = true * mistaken[labels]
    return together[np.arange(len(labels)), labels] / together.sum(axis=1)


def confident_joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many rows have which given label and which true one, float64 [given, true].

    A row counts for the likeliest of the labels that it is given a higher probability of than rows with that label are
    on average; if there is none, for no label. Each given label's counts are brought to its number of rows.
    """
    classes = probabilities.shape[1]
    usual = np.array([probabilities[labels == k, k].mean() for k in range(classes)])
    confident = np.where(probabilities >= usual, probabilities, -1.0)
    sure = confident.max(axis=1) >= 0
    counts = _LEAST * np.eye(classes)
    np.add.at(counts, (labels[sure], confident[sure].argmax(axis=1)), 1)
    return counts * (np.bincount(labels, minlength=classes) / counts.sum(axis=1))[:, None]


preset("label-noise", LabelNoise)
