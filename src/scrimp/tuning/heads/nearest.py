"""The nearest class mean, learned in passing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scrimp.core.errors import DataError
from scrimp.core.registry import Cost, preset
from scrimp.tuning.heads.base import FittedHead, Head

__all__ = ["ClassMeans", "NearestMean"]

_UNIT = 2.0**32  # sums are kept as whole numbers of its inverse, so that their order does not matter
_MOST = 2.0**62


@dataclass(frozen=True, eq=False)
class ClassMeans(FittedHead):
    """The sums of each class's features so far, int64 [C, D] in units of 2^-32, and their counts, int64 [C]."""

    sums: np.ndarray
    counts: np.ndarray

    def partial_fit(self, features: np.ndarray, labels: np.ndarray) -> ClassMeans:
        """With more rows, of known classes or of new ones; in whatever order and portions rows come, to the same bits.

        Raises:
            DataError: if the features are of another width, too large to be summed, or not finite.
        """
        more = NearestMean(normalise=self.normalised).fit(
            features, labels, classes=max(len(self.sums), int(np.max(labels, initial=-1)) + 1))
        if more.sums.shape[1] != self.sums.shape[1]:
            raise DataError(f"the features have {more.sums.shape[1]} columns, and had {self.sums.shape[1]} before")
        new = len(more.sums) - len(self.sums)
        sums = np.pad(self.sums, ((0, new), (0, 0))) + more.sums
        _check_size(sums)
        return ClassMeans(self.normalised, sums, np.pad(self.counts, (0, new)) + more.counts)

    @property
    def means(self) -> np.ndarray:
        """Float64 [C, D]."""
        return self.sums / _UNIT / np.maximum(self.counts, 1)[:, None]

    def scores(self, features: np.ndarray) -> np.ndarray:
        means = self.means
        scores = features @ means.T - (means**2).sum(axis=1) / 2
        scores[:, self.counts == 0] = -np.inf
        return scores


class NearestMean(Head):
    """The class whose mean is nearest, with means that grow row by row.

    ``log p(c | x) = -|x - m_c|^2 / 2`` up to a constant, ``m_c`` the mean of the class's rows. `ClassMeans.partial_fit`
    takes further rows and new classes and keeps no old row; features are taken to 2^-32, so that sums are exact and
    the result does not depend on the order.

    Janson et al. 2022, "A Simple Baseline that Questions the Use of Pretrained-Models in Continual Learning".

    Attributes:
        normalise: bring each row of features to unit length first.
    """

    def learn(self, features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> ClassMeans:
        if np.abs(features).max(initial=0) * len(features) > _MOST / _UNIT:
            raise DataError("the features are too large to be summed exactly", fix="set normalise, or scale them")
        sums = np.zeros((classes, features.shape[1]), dtype=np.int64)
        np.add.at(sums, labels, np.rint(features * _UNIT).astype(np.int64))
        return ClassMeans(self.normalise, sums, np.bincount(labels, minlength=classes))

    def fit(self, features: np.ndarray, labels: np.ndarray, *, classes: int, seed: int = 0) -> ClassMeans:
        fitted = super().fit(features, labels, classes=classes, seed=seed)
        assert isinstance(fitted, ClassMeans)
        return fitted

    def cost(self, width: int, classes: int) -> Cost:
        return Cost(parameters=classes * width + classes)


def _check_size(sums: np.ndarray) -> None:
    if np.abs(sums.astype(np.float64)).max(initial=0) > _MOST:
        raise DataError("the features' sums are too large to be kept exactly", fix="set normalise, or scale them")


preset("nearest-mean", NearestMean, papers=(512,))
