"""Logistic regression, its strength chosen by cross-validation: the head on all features that are not tuned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scrimp.core.errors import DataError

__all__ = ["LinearHead", "fit_linear_head"]

_STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0)  # for features whose rows are about one long
_FOLDS = 5
_MOST_FOR_CHOICE = 1000  # rows on which the strength is chosen: it hardly moves beyond
_LEAST_SHARE = 1e-6  # what a label counts that a fold did not see


@dataclass(frozen=True)
class LinearHead:
    """Log-odds ``features @ weight.T + bias``: weight [C, D], bias [C], labels in their order.

    Attributes:
        strength: the inverse penalty that was chosen.
    """

    labels: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    strength: float

    def log_odds(self, features: Any) -> np.ndarray:
        """[N, C] for dense or sparse features [N, D]."""
        return np.asarray(features @ self.weight.T) + self.bias


def fit_linear_head(features: Any, labels: Sequence[str], *, seed: int) -> LinearHead:
    """Fit on dense or sparse features [N, D], rows about one long.

    The strength is the one with the best out-of-fold log-likelihood; a label with a single row counts in it as one that
    cannot be foreseen.

    Raises:
        DataError: if there are fewer than two labels.
    """
    if len(set(labels)) < 2:
        raise DataError("a classifier needs examples of at least two labels",
                        why=f"found: {', '.join(sorted(set(labels))) or 'none'}")
    found = np.asarray(labels, dtype=object)
    strength = _chosen_strength(features, found, seed)
    fitted = _regression(strength).fit(features, found)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # two labels share one row of weights
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return LinearHead(tuple(map(str, fitted.classes_)), weight.astype(np.float32), bias.astype(np.float32), strength)


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=2000)


def _chosen_strength(features: Any, labels: np.ndarray, seed: int) -> float:
    rows = np.random.default_rng(seed).permutation(len(labels))[:_MOST_FOR_CHOICE]
    features, labels = features[rows], labels[rows]
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
