"""Ridge regression, its penalty chosen by leaving each row out in turn: of a number, what `logistic` is of a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Fitted", "fitted"]

_PENALTIES = tuple(10.0 ** (power / 2) for power in range(-4, 6))  # for features whose rows are about one long
_MOST_FOR_CHOICE = 1000  # rows on which the penalty is chosen: it hardly moves beyond
_LEAST_LEFT = 1e-9  # of a row's own weight in its fit, by which its miss is divided


@dataclass(frozen=True)
class Fitted:
    """``features @ weight + bias``, and how it does on rows that it is not fitted on.

    Attributes:
        weight: float64 [D].
        bias: of all rows.
        penalty: of the squared weights, beside the summed squared errors.
        misses: float64 [M], of some rows their target less what a fit to all the others says.
    """

    weight: np.ndarray
    bias: float
    penalty: float
    misses: np.ndarray


def fitted(features: Any, targets: np.ndarray, *, seed: int) -> Fitted:
    """Fit on dense or sparse features [N, D], rows about one long, and targets [N] of about unit variance.

    The penalty is the one with the least squared error of rows that were left out of the fit, which one decomposition
    tells of all rows and penalties. Allen 1974, "The Relationship Between Variable Selection and Data Augmentation and
    a Method for Prediction"; Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems".
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the products are small: several threads only wait for each other
        rows = np.random.default_rng(seed).permutation(len(targets))[:_MOST_FOR_CHOICE]
        chosen = _chosen(features[rows], targets[rows])
        return chosen if len(rows) == len(targets) else _refitted(features, targets, chosen)


def _chosen(features: Any, targets: np.ndarray) -> Fitted:
    if isinstance(features, np.ndarray):
        features = features.astype(np.float64)
    products, level = features @ features.T, float(targets.mean())
    products = products if isinstance(products, np.ndarray) else products.toarray()
    means = products.mean(axis=0)
    sizes, axes = np.linalg.eigh(products - means - means[:, None] + means.mean())  # of the rows less their mean
    sizes, along = np.maximum(sizes, 0.0), axes.T @ (targets - level)
    inverse = 1.0 / (sizes[:, None] + np.asarray(_PENALTIES))
    shares = sizes[:, None] * inverse
    own = 1.0 / len(targets) + axes**2 @ shares
    missed = (targets - level)[:, None] - axes @ (shares * along[:, None])
    misses = missed / np.maximum(1.0 - own, _LEAST_LEFT)
    best = int(np.argmin((misses**2).mean(axis=0)))
    dual = axes @ (inverse[:, best] * along)
    weight = np.asarray((dual - dual.mean()) @ features).ravel()
    bias = level - float(np.asarray(features.mean(axis=0)).ravel() @ weight)
    return Fitted(weight, bias, _PENALTIES[best], misses[:, best])


def _refitted(features: Any, targets: np.ndarray, chosen: Fitted) -> Fitted:
    """With its penalty on all rows."""
    from sklearn.linear_model import Ridge

    found = Ridge(alpha=chosen.penalty).fit(features, targets)
    return Fitted(np.asarray(found.coef_, dtype=np.float64), float(found.intercept_), chosen.penalty, chosen.misses)
