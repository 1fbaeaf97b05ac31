"""The family of heads: classifiers on frozen features."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from scrimp.core.registry import Cost, Method

__all__ = ["FittedHead", "Head"]


class FittedHead(Protocol):
    """A classifier that was fitted."""

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Float64 [N, C] of features [N, D]."""


class Head(Method):
    """Fits a classifier on features that stay as they are."""

    family: ClassVar[str] = "head"
    verb: ClassVar[str] = "fit"

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int, seed: int = 0) -> FittedHead:
        """The classifier of float32 ``features`` [N, D] and int64 ``labels`` [N] in ``range(classes)``."""
        raise NotImplementedError

    def cost(self, width: int, classes: int) -> Cost:
        """The parameters of the fitted head, for features [N, width]."""
        raise NotImplementedError
