"""Logistic regression with named labels: the head on all features that are not tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scrimp.tuning.heads.logistic import regress

__all__ = ["LinearHead", "fit_linear_head"]


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
    """Fit on dense or sparse features [N, D], rows about one long; see `scrimp.tuning.heads.logistic`.

    Raises:
        DataError: if there are fewer than two labels.
    """
    found, weight, bias, strength = regress(features, np.asarray(labels, dtype=object), seed=seed)
    return LinearHead(tuple(map(str, found)), weight.astype(np.float32), bias.astype(np.float32), strength)
