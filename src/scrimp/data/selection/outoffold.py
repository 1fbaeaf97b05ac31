"""Probabilities that logistic regression gives to rows which it was not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from scrimp.tuning.heads.logistic import regress

__all__ = ["out_of_fold", "probabilities"]


def out_of_fold(features: Any, labels: np.ndarray, *, folds: int, seed: int,
                strength: float | None = None) -> np.ndarray:
    """Float64 [N, C]: each fold's from a fit on the others, all of one strength, chosen on all rows if not given.

    Args:
        features: dense or sparse [N, D], rows about one long.
        labels: numbers in ``range(C)``; each label's rows are dealt to the folds in turn.
        folds: as many fits.
        seed: of the dealing.
        strength: inverse penalty.

    Raises:
        DataError: if the rows outside of a fold have fewer than two labels.
    """
    classes = int(labels.max()) + 1
    strength = strength or regress(features, labels, seed=seed)[3]
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    fold, found = np.empty(len(labels), dtype=np.int64), np.zeros((len(labels), classes))
    fold[order] = np.arange(len(labels)) % folds
    for number in range(min(folds, len(labels))):
        learn, judge = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        found[judge] = probabilities(features[learn], labels[learn], features[judge], classes, seed=seed,
                                     strength=strength)
    return found


def probabilities(features: Any, labels: np.ndarray, asked: Any, classes: int, *, seed: int,
                  strength: float | None = None) -> np.ndarray:
    """Of each class for rows ``asked`` [M, D], float64 [M, C], by a fit on ``features`` [N, D].

    Raises:
        DataError: if there are fewer than two labels.
    """
    present, weight, bias, _ = regress(features, labels, seed=seed, strength=strength)
    found = np.zeros((asked.shape[0], classes))
    found[:, present] = softmax(np.asarray(asked @ weight.T) + bias, axis=1)
    return found
