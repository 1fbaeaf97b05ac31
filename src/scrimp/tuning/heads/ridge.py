"""Least squares onto the classes."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.tuning.heads.base import Head, LinearScores

__all__ = ["Ridge"]


class Ridge(Head):
    """Linear regression onto one-hot classes with a penalty on the weights, solved in closed form.

    ``W = (X'X + penalty I)^-1 X'(2 Y - 1)`` on centred ``X``; the outputs times ``scale`` are taken as log-odds.
    Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems".

    Attributes:
        penalty: on the squared weights.
        scale: of the outputs as log-odds.
        normalise: bring each row of features to unit length first.
    """

    penalty: float = Field(default=1.0, gt=0)
    scale: float = Field(default=4.0, gt=0)

    def learn(self, features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> LinearScores:
        wanted = 2 * np.eye(classes)[labels] - 1
        centre, level = features.mean(axis=0), wanted.mean(axis=0)
        x = features - centre
        # the smaller of the two systems that have the same solution
        if len(x) < x.shape[1]:
            weight = x.T @ np.linalg.solve(x @ x.T + self.penalty * np.eye(len(x)), wanted - level)
        else:
            weight = np.linalg.solve(x.T @ x + self.penalty * np.eye(x.shape[1]), x.T @ (wanted - level))
        return LinearScores(self.normalise, self.scale * weight.T, self.scale * (level - centre @ weight))


preset("ridge", Ridge)
