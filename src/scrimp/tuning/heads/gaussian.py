"""Generative heads: how features are spread within each class, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from scrimp.core.registry import Cost, preset
from scrimp.tuning.heads.base import FittedHead, Head, LinearScores

__all__ = ["GaussianHead"]

_LEAST = 1e-9  # variance of a feature, against that of the most varied one


class GaussianHead(Head):
    """A normal distribution for each class and feature, the features independent of each other.

    ``log p(c | x) = log(n_c / N) - sum_d ((x_d - m_cd)^2 / v_cd + log v_cd) / 2``, up to a constant. Diagonal LDA has
    one variance for all classes, ``v_d = (S_d + prior t_d) / (N - C + prior)`` with the squares ``S`` within the
    classes and the variance ``t`` of all rows; naive Bayes has ``v_cd = (S_cd + prior v_d) / (n_c - 1 + prior)``. So
    both are defined from one row a class on. A class without rows has probability zero.

    Zheng et al. 2023, "Revisiting Discriminative vs. Generative Classifiers: Theory and Implications": on frozen
    features it needs far fewer rows than logistic regression to do as well as it can, and is passed when rows are many.

    Attributes:
        shared: one variance for all classes (diagonal LDA) instead of one each (naive Bayes).
        prior: rows that the wider variance counts as.
        normalise: bring each row of features to unit length first.
    """

    shared: bool = True
    prior: float = Field(default=1.0, gt=0)

    def learn(self, features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> FittedHead:
        of_class = np.eye(classes)[labels]
        counts = of_class.sum(axis=0)
        means = of_class.T @ features / np.maximum(counts, 1)[:, None]
        squares = of_class.T @ (features - means[labels]) ** 2
        present = np.count_nonzero(counts)
        overall = _floored(features.var(axis=0))
        shared = (squares.sum(axis=0) + self.prior * overall) / (len(features) - present + self.prior)
        with np.errstate(divide="ignore"):
            chances = np.log(counts / len(features))
        if self.shared:
            centre = features.mean(axis=0)  # cancels out of the differences between classes, and leaves less to round
            apart, weight = means - centre, (means - centre) / shared
            return LinearScores(self.normalise, weight, chances - weight @ centre - (apart * weight).sum(axis=1) / 2)
        each = (squares + self.prior * shared) / (np.maximum(counts - 1, 0)[:, None] + self.prior)
        return _NaiveBayes(self.normalise, means, each, chances)

    def cost(self, width: int, classes: int) -> Cost:
        return Cost(parameters=classes * width * (1 if self.shared else 2) + classes)


@dataclass(frozen=True, eq=False)
class _NaiveBayes(FittedHead):
    """Means and variances [C, D], and the logarithms of the classes' shares [C]."""

    means: np.ndarray
    variances: np.ndarray
    chances: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        squares = [((features - mean) ** 2 / variance).sum(axis=1)
                   for mean, variance in zip(self.means, self.variances, strict=True)]
        return self.chances - (np.stack(squares, axis=1) + np.log(self.variances).sum(axis=1)) / 2


def _floored(variances: np.ndarray) -> np.ndarray:
    """No variance is zero: a constant feature then says nothing, instead of everything."""
    return np.maximum(variances, _LEAST * variances.max()) if variances.any() else np.ones_like(variances)


preset("diagonal-lda", GaussianHead, papers=(36,))
preset("naive-bayes", GaussianHead, papers=(36,), shared=False)
