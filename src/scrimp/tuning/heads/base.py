"""The family of heads: classifiers on frozen features."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from scrimp.core.errors import DataError
from scrimp.core.registry import Cost, Method

__all__ = ["FittedHead", "Head", "LinearScores"]


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A classifier that was fitted; its fields are all that it is made of.

    Attributes:
        normalised: whether features are brought to unit length first.
    """

    normalised: bool

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Float64 [N, C] of features [N, D].

        Raises:
            DataError: if the features are not finite numbers [N, D].
        """
        scores = self.scores(_ready(features, self.normalised))
        highest = scores.max(axis=1, keepdims=True)
        return scores - highest - np.log(np.exp(scores - highest).sum(axis=1, keepdims=True))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The most probable class, int64 [N]."""
        return self.log_probabilities(features).argmax(axis=1)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Log-probabilities up to a constant of the row, float64 [N, C], of float64 features [N, D]."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        """What it learned, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], *, normalised: bool) -> Self:
        """The head that had these `arrays`."""
        return cls(normalised=normalised, **arrays)


@dataclass(frozen=True, eq=False)
class LinearScores(FittedHead):
    """Scores ``features @ weight.T + bias``: weight float64 [C, D], bias float64 [C]."""

    weight: np.ndarray
    bias: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        return features @ self.weight.T + self.bias


class Head(Method):
    """Fits a classifier on features that stay as they are.

    A head implements `learn`; `fit` checks and normalises.

    Attributes:
        normalise: bring each row of features to unit length first.
    """

    family: ClassVar[str] = "head"
    verb: ClassVar[str] = "fit"

    normalise: bool = False

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int, seed: int = 0) -> FittedHead:
        """The classifier of float32 ``features`` [N, D] and int64 ``labels`` [N] in ``range(classes)``.

        Raises:
            DataError: if there are no rows, labels out of range, or features that are not finite numbers [N, D].
        """
        found, labels = _ready(features, self.normalise), np.asarray(labels)
        if not len(found) or labels.shape != (len(found),):
            raise DataError(f"{len(found)} rows of features cannot be learned with {labels.size} labels")
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(f"labels reach from {labels.min()} to {labels.max()}, and there are {classes} classes")
        return self.learn(found, labels.astype(np.int64), classes, seed)

    def learn(self, features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> FittedHead:
        """The classifier of float64 ``features``, checked and normalised."""
        raise NotImplementedError

    def cost(self, width: int, classes: int) -> Cost:
        """The parameters of the fitted head, for features [N, width]."""
        return Cost(parameters=classes * width + classes)


def _ready(features: np.ndarray, normalise: bool) -> np.ndarray:
    found = np.asarray(features, dtype=np.float64)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise DataError(f"features are finite numbers [rows, width], not {list(found.shape)}"
                        + (" with NaN or infinity" if found.ndim == 2 else ""))
    if not normalise:
        return found
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float64).tiny)
