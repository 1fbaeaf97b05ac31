"""Linear heads over features that are not tuned: what each makes of ``features @ weight.T + bias``."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from scrimp.core.errors import DataError, ModelError
from scrimp.examples.records import natural
from scrimp.serving.base import MANIFEST, Prediction, as_scores, as_sets
from scrimp.tuning.heads import several
from scrimp.tuning.heads.logistic import regress
from scrimp.tuning.heads.numbers import fitted

__all__ = ["LINKS", "Head", "LabelHead", "LabelsHead", "ScoreHead", "has_each"]

_WITHIN = 0.9  # of rows, which the interval of a score is to hold


@dataclass(frozen=True)
class Head(abc.ABC):
    """A linear head.

    Attributes:
        labels: what it chooses from; empty where it does not choose.
        weight, bias: float32 [C, D] and [C].
        strength: the inverse penalty that was chosen.
        link: by which a saved head's class is found again.
    """

    link: ClassVar[str]

    labels: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    strength: float

    @classmethod
    @abc.abstractmethod
    def fit(cls, features: Any, wanted: Sequence[Any], *, seed: int) -> Self:
        """Fit on dense or sparse features [N, D], rows about one long, and what is wanted of each row.

        Raises:
            DataError: if there is nothing to tell apart.
        """

    @abc.abstractmethod
    def predictions(self, features: Any) -> list[Prediction]:
        """What it says of features [N, D]."""

    def values(self, features: Any) -> np.ndarray:
        """[N, C] for dense or sparse features [N, D]."""
        return np.asarray(features @ self.weight.T) + self.bias

    def settings(self) -> dict[str, Any]:
        """What a manifest keeps of it beside labels and tensors."""
        return {"link": self.link, "strength": self.strength}

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        """How many values it has of each row; a ModelError where it cannot have these labels."""
        return len(labels)

    @classmethod
    def restore(cls, labels: tuple[str, ...], weight: np.ndarray, bias: np.ndarray,
                settings: Mapping[str, Any]) -> Self:
        """From what was saved; ``settings`` are distrusted.

        Raises:
            ModelError: if they are damaged.
        """
        found = checked(settings, positive=("strength",))
        return cls(labels, weight, bias, found["strength"])


@dataclass(frozen=True)
class LabelHead(Head):
    """One of several labels, by logistic regression: values are log-odds; see `scrimp.tuning.heads.logistic`."""

    link: ClassVar[str] = "softmax"

    @classmethod
    def fit(cls, features: Any, wanted: Sequence[Any], *, seed: int) -> Self:
        found, weight, bias, strength = regress(features, np.asarray(wanted, dtype=object), seed=seed)
        return cls(tuple(map(str, found)), weight.astype(np.float32), bias.astype(np.float32), strength)

    def predictions(self, features: Any) -> list[Prediction]:
        return as_scores(self.values(features), self.labels)

    def settings(self) -> dict[str, Any]:
        return {"strength": self.strength}  # a head without a link is one of labels


@dataclass(frozen=True)
class LabelsHead(Head):
    """Any number of labels, by logistic regression of each: values are log-odds; see `scrimp.tuning.heads.several`.

    Attributes:
        threshold: the probability from which on a label is said.
    """

    link: ClassVar[str] = "sigmoid"

    threshold: float

    @classmethod
    def fit(cls, features: Any, wanted: Sequence[Any], *, seed: int) -> Self:
        labels = tuple(sorted({label for one in wanted for label in one}, key=natural))
        if not labels:
            raise DataError("there is no label to learn", why="no row has any")
        found = several.fitted(features, has_each(wanted, labels), seed=seed)
        return cls(labels, found.weight.astype(np.float32), found.bias.astype(np.float32), found.strength,
                   found.threshold)

    def predictions(self, features: Any) -> list[Prediction]:
        return as_sets(1.0 / (1.0 + np.exp(-self.values(features).astype(np.float64))), self.labels, self.threshold)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "threshold": self.threshold}

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        if not labels:
            raise ModelError("a head of several labels has none", where=MANIFEST)
        return len(labels)

    @classmethod
    def restore(cls, labels: tuple[str, ...], weight: np.ndarray, bias: np.ndarray,
                settings: Mapping[str, Any]) -> Self:
        found = checked(settings, positive=("strength", "threshold"))
        return cls(labels, weight, bias, found["strength"], found["threshold"])


@dataclass(frozen=True)
class ScoreHead(Head):
    """A number, by ridge regression of the standardised scores; see `scrimp.tuning.heads.numbers`.

    Attributes:
        centre, spread: what the scores were lessened and divided by.
        within: half the width of the interval that holds nine tenths of scores, as rows that were left out tell; 0
            where there were too few rows to tell.
    """

    link: ClassVar[str] = "identity"

    centre: float
    spread: float
    within: float

    @classmethod
    def fit(cls, features: Any, wanted: Sequence[Any], *, seed: int) -> Self:
        scores = np.asarray(wanted, dtype=np.float64)
        centre, spread = float(scores.mean()), float(scores.std()) or 1.0
        found = fitted(features, (scores - centre) / spread, seed=seed)
        return cls((), found.weight[None].astype(np.float32), np.array([found.bias], dtype=np.float32),
                   1.0 / found.penalty, centre, spread, spread * _held(np.abs(found.misses)))

    def predictions(self, features: Any) -> list[Prediction]:
        scores = (self.centre + self.spread * self.values(features).astype(np.float64)[:, 0]).tolist()
        if not self.within:
            return [{"score": score} for score in scores]
        return [{"score": score, "low": score - self.within, "high": score + self.within} for score in scores]

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "centre": self.centre, "spread": self.spread, "within": self.within}

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        if labels:
            raise ModelError("a head of scores has no labels", where=MANIFEST)
        return 1

    @classmethod
    def restore(cls, labels: tuple[str, ...], weight: np.ndarray, bias: np.ndarray,
                settings: Mapping[str, Any]) -> Self:
        found = checked(settings, positive=("strength", "spread"), any_=("centre", "within"))
        if found["within"] < 0:
            raise ModelError("a head's 'within' is negative", where=MANIFEST)
        return cls(labels, weight, bias, found["strength"], found["centre"], found["spread"], found["within"])


def has_each(wanted: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """Of each row 1 for the labels that it has, else 0, float64 [N, C]."""
    place = {label: i for i, label in enumerate(labels)}
    found = np.zeros((len(wanted), len(labels)))
    for row, some in zip(found, wanted, strict=True):
        row[[place[label] for label in some if label in place]] = 1.0
    return found


def _held(misses: np.ndarray) -> float:
    """The miss that nine tenths of further rows stay below; 0 where there are too few to say.

    Lei et al. 2018, "Distribution-Free Predictive Inference for Regression".
    """
    place = math.ceil(_WITHIN * (len(misses) + 1))
    return float(np.sort(misses)[place - 1]) if place <= len(misses) else 0.0


def checked(settings: Mapping[str, Any], *, positive: Sequence[str] = (), any_: Sequence[str] = ()) -> dict[str, float]:
    """These settings, which must be just those named, and finite numbers.

    Raises:
        ModelError: if they are not.
    """
    sound = set(settings) == {*positive, *any_} and all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
        for value in settings.values())
    if not sound or not all(settings[name] > 0 for name in positive):
        raise ModelError("the settings of a linear head are damaged", where=MANIFEST, why=str(dict(settings))[:200])
    return {name: float(value) for name, value in settings.items()}


#: the heads by what a manifest calls them; where it says nothing, the first is meant
LINKS: dict[str, type[Head]] = {head.link: head for head in (LabelHead, LabelsHead, ScoreHead)}
