"""Logistic regression of each label by itself, one strength for all: of several labels, what `logistic` is of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scrimp.tuning.heads.logistic import compacted

__all__ = ["Fitted", "best_threshold", "fitted"]

_STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0)  # for features whose rows are about one long
_FOLDS = 5
_MOST_FOR_CHOICE = 1000  # rows on which strength and threshold are chosen: they hardly move beyond
_MOST_AT_ONCE = 1_000_000  # weights that are found together
_LEAST_SHARE = 1e-6  # what a label counts that a fold holds nearly impossible
_FLAT = 1e-4  # of the square root of the rows: a slope, in units of curvature, that is taken for none
_FAR, _TINY = 500.0, 1e-300  # values whose exponential is a number, and a probability whose logarithm is one


@dataclass(frozen=True)
class Fitted:
    """``sigmoid(features @ weight.T + bias)``, and from which probability on a label is said.

    Attributes:
        weight, bias: float64 [C, D] and [C].
        strength: the inverse penalty.
        threshold: between 0 and 1, one for all labels.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    threshold: float


def fitted(features: Any, wanted: np.ndarray, *, seed: int) -> Fitted:
    """Fit on dense or sparse features [N, D], rows about one long, and on 1 for labels of a row, else 0, [N, C].

    Each label is told from its absence, and never from the others: "binary relevance". The strength is the one with the
    best out-of-fold log-likelihood, and the threshold the one with the best out-of-fold micro F1. Both are shared by
    all labels, as few rows tell little of each.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the products are small: several threads only wait for each other
        rows = np.random.default_rng(seed).permutation(len(wanted))[:_MOST_FOR_CHOICE]
        strength, threshold = _chosen(_turned(features[rows])[0], wanted[rows])
        turned, back = _turned(features)
        weight, bias = _solved(turned, wanted, strength)
    return Fitted(np.asarray(back(weight)), bias, strength, threshold)


def best_threshold(shares: np.ndarray, wanted: np.ndarray) -> float:
    """From which probability on labels are to be said so that micro F1 is the highest: midway to the next lower one.

    Args:
        shares: probabilities [N, C].
        wanted: 1 for labels of a row, else 0, [N, C]; one of them at least is 1.
    """
    order = np.argsort(-shares, axis=None, kind="stable")
    sorted_shares, hits = shares.ravel()[order], np.cumsum(wanted.ravel()[order])
    following = np.append(sorted_shares[1:], 0.0)
    found = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    best = int(np.argmax(np.where(sorted_shares > following, found, -1.0)))
    return float((sorted_shares[best] + following[best]) / 2)


def _turned(features: Any) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """The rows along axes of which each varies without the others, and how weights [C, K] are turned back into [C, D].

    There the slope of each weight says how far it is to go. Sparse rows, if they are many, stay as they are.
    """
    compact, back = compacted(features)
    if compact is not features or not isinstance(features, np.ndarray):
        return compact, back
    axes = np.linalg.eigh(features.T.astype(np.float64) @ features)[1]
    return features @ axes, lambda weight: weight @ axes.T


def _chosen(features: Any, wanted: np.ndarray) -> tuple[float, float]:
    """Strength and threshold by what folds say that are left out of the fit."""
    fold, shares = _folds(wanted), np.empty((len(_STRENGTHS), *wanted.shape))
    for number in range(fold.max() + 1):
        learn, start = fold != number, None
        for place, strength in enumerate(_STRENGTHS):
            start = _solved(features[learn], wanted[learn], strength, start)
            shares[place, ~learn] = _sigmoid(np.asarray(features[~learn] @ start[0].T) + start[1])
    seen = np.where(wanted > 0, shares, 1.0 - shares)
    best = int(np.argmax(np.log(np.maximum(seen, _LEAST_SHARE)).mean(axis=(1, 2))))
    return _STRENGTHS[best], best_threshold(shares[best], wanted)


def _folds(wanted: np.ndarray) -> np.ndarray:
    """Of each row its fold, int [N]; the rows of a rare label are dealt out to as many as there are."""
    rarest = np.where(wanted > 0, wanted.sum(axis=0), np.inf).argmin(axis=1)
    order = np.argsort(np.where(wanted.any(axis=1), rarest, -1), kind="stable")
    fold = np.empty(len(wanted), dtype=int)
    fold[order] = np.arange(len(wanted)) % min(_FOLDS, len(wanted))
    return fold


def _solved(features: Any, wanted: np.ndarray, strength: float,
            start: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Weight [C, D] and bias [C] with the least summed cross-entropy and penalty, sought from ``start``."""
    classes, wide = wanted.shape[1], features.shape[1]
    at = np.zeros((classes, wide + 1))
    at[:, -1] = _log_odds(wanted)
    if start is not None:
        at = np.concatenate([start[0], start[1][:, None]], axis=1)
    size = max(1, _MOST_AT_ONCE // (wide + 1))
    for begin in range(0, classes, size):
        part = slice(begin, begin + size)
        at[part] = _descended(features, wanted[:, part], strength, at[part])
    return at[:, :-1], at[:, -1]


def _descended(features: Any, wanted: np.ndarray, strength: float, start: np.ndarray) -> np.ndarray:
    """Weights with their bias beside them, [C, D + 1]: each is sought in the unit that its curvature gives it."""
    from scipy.optimize import minimize

    unit = 1.0 / np.sqrt(_curvature(features, wanted, strength))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        at = flat.reshape(start.shape) * unit
        values = np.asarray(features @ at[:, :-1].T) + at[:, -1]
        shares = _sigmoid(values)
        missed, slopes = shares - wanted, np.empty(start.shape)
        slopes[:, :-1] = np.asarray(features.T @ missed).T + at[:, :-1] / strength
        slopes[:, -1] = missed.sum(axis=0)
        seen = np.log(np.maximum(np.abs(1.0 - wanted - shares), _TINY)).sum()
        return float(0.5 * (at[:, :-1]**2).sum() / strength - seen), (slopes * unit).ravel()

    found = minimize(loss, (start / unit).ravel(), jac=True, method="L-BFGS-B",
                     options={"maxiter": 1000, "gtol": _FLAT * np.sqrt(len(wanted))})
    return np.asarray(found.x).reshape(start.shape) * unit


def _curvature(features: Any, wanted: np.ndarray, strength: float) -> np.ndarray:
    """Of the loss along each weight and bias, [C, D + 1], where each label is as likely in all rows."""
    share = 1.0 / (1.0 + np.exp(-_log_odds(wanted)))
    squares = features**2 if isinstance(features, np.ndarray) else features.multiply(features)
    alike = np.append(np.asarray(squares.sum(axis=0)).ravel(), len(wanted))
    return (share * (1.0 - share))[:, None] * alike + np.append(np.full(len(alike) - 1, 1.0 / strength), 0.0)


def _log_odds(wanted: np.ndarray) -> np.ndarray:
    """Of each label's share, as if half a row more had it and half a row more had not."""
    return np.log((wanted.sum(axis=0) + 0.5) / (len(wanted) - wanted.sum(axis=0) + 0.5))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -_FAR, _FAR))))
