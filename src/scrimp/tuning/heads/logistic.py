"""Logistic regression, its strength chosen by cross-validation: the head on all features that are not tuned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from scrimp.core.errors import DataError
from scrimp.core.registry import preset
from scrimp.tuning.heads.base import Head, LinearScores

__all__ = ["Logistic", "compacted", "regress", "standard"]

_STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0)  # for features whose rows are about one long
_FOLDS = 5
_MOST_FOR_CHOICE = 1000  # rows on which the strength is chosen: it hardly moves beyond
_MOST_COMPACTED = 2000  # rows whose products are quicker taken apart than done without
_LEAST_SIZE = 1e-10  # of an axis, against that of the longest: what is less is rounding
_LEAST_SHARE = 1e-6  # what a label counts that a fold did not see


class Logistic(Head):
    """Logistic regression with an L2 penalty.

    ``log p(c | x) = w_c . x + b_c`` up to a constant, with ``|w|^2 / (2 strength)`` beside the summed cross-entropy.

    Cox 1958, "The Regression Analysis of Binary Sequences"; fitted by scikit-learn.

    Attributes:
        strength: the inverse penalty; without it, the one with the best out-of-fold log-likelihood of five, which are
            made for features whose rows are about one long.
        normalise: bring each row of features to unit length first.
    """

    strength: float | None = Field(default=None, gt=0)

    def learn(self, features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> LinearScores:
        present, weight, bias, _ = regress(features, labels, seed=seed, strength=self.strength)
        whole, level = np.zeros((classes, features.shape[1])), np.full(classes, -np.inf)
        whole[present], level[present] = weight, bias
        return LinearScores(self.normalise, whole, level)


def regress(features: Any, labels: np.ndarray, *, seed: int,
            strength: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Fit on dense or sparse features [N, D], rows about one long.

    Where it is not given, the strength is the one with the best out-of-fold log-likelihood; a label with a single row
    counts in it as one that cannot be foreseen.

    Returns:
        The distinct labels in order [C], weight [C, D], bias [C], and the strength.

    Raises:
        DataError: if there are fewer than two labels.
    """
    if len(found := sorted(set(labels.tolist()))) < 2:
        raise DataError("a classifier needs examples of at least two labels",
                        why=f"found: {', '.join(map(str, found)) or 'none'}")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the products are small: several threads only wait for each other
        strength = strength or _chosen_strength(features, labels, seed)
        compact, back = compacted(features)
        fitted = _regression(strength).fit(compact, labels)
    weight, bias = back(fitted.coef_), fitted.intercept_
    if len(weight) == 1:  # two labels share one row of weights
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return fitted.classes_, weight, bias, strength


def standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted and divided by, both [D], so that dimensions count alike and rows are about one long.

    A dimension that does not vary is divided by the mean spread: in a few rows that may be chance.
    """
    if not len(features):
        raise DataError("there are no texts to learn from")
    spread = features.std(axis=0)
    typical = float(spread.mean()) or 1.0
    return features.mean(axis=0), np.where(spread > typical / 1000, spread, typical) * np.sqrt(features.shape[1])


def compacted(features: Any) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """The rows [N, D] turned so that N numbers say them all, and how weights [C, N] are turned back into [C, D].

    The fit is the same: its penalty does not mind the turning, and its weights lie in the span of the rows.
    Schölkopf, Herbrich and Smola 2001, "A Generalized Representer Theorem".
    """
    rows, wide = features.shape
    if rows >= wide or rows > _MOST_COMPACTED:
        return features, lambda weight: weight
    if isinstance(features, np.ndarray):
        features = features.astype(np.float64)  # else rounding would look like axes of its own
    products = features @ features.T
    sizes, axes = np.linalg.eigh(products if isinstance(products, np.ndarray) else products.toarray())
    kept = sizes > _LEAST_SIZE * max(sizes[-1], 1.0)
    if not kept.any():
        return features, lambda weight: weight
    axes, lengths = axes[:, kept], np.sqrt(sizes[kept])
    return axes * lengths, lambda weight: np.asarray((weight / lengths) @ axes.T @ features)


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=2000)


def _chosen_strength(features: Any, labels: np.ndarray, seed: int) -> float:
    rows = np.random.default_rng(seed).permutation(len(labels))[:_MOST_FOR_CHOICE]
    (features, _), labels = compacted(features[rows]), labels[rows]
    folds = _folds(labels, seed)
    if not folds:
        return 1.0
    scores = [np.mean([_likelihood(strength, features, labels, *fold) for fold in folds]) for strength in _STRENGTHS]
    return _STRENGTHS[int(np.argmax(scores))]


def _folds(labels: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified by hand, so that labels with few rows are spread as far as they go; each fold trains on two labels."""
    k = min(_FOLDS, Counter(labels.tolist()).most_common(1)[0][1])
    order = np.argsort(labels, kind="stable")
    fold = np.empty(len(labels), dtype=int)
    fold[order] = np.arange(len(labels)) % max(k, 1)
    parts = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]
    return [(a, b) for a, b in parts if len(b) and len(set(labels[a])) > 1] if k > 1 else []


def _likelihood(strength: float, features: Any, labels: np.ndarray, learn: np.ndarray, judge: np.ndarray) -> float:
    fitted = _regression(strength).fit(features[learn], labels[learn])
    place = {label: i for i, label in enumerate(fitted.classes_)}
    likely = fitted.predict_proba(features[judge])
    seen = [likely[row, place[label]] if label in place else 0.0 for row, label in enumerate(labels[judge])]
    return float(np.mean(np.log(np.maximum(seen, _LEAST_SHARE))))


preset("logistic", Logistic)
