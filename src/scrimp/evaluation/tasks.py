"""Measuring a predictor on examples: predict once, score by every metric that suits the layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.core.progress import warn
from scrimp.core.registry import build
from scrimp.evaluation.metrics import metrics_for
from scrimp.evaluation.outcome import Score
from scrimp.examples.records import Examples

if TYPE_CHECKING:
    from scrimp.serving.predictors import Prediction, Predictor

__all__ = ["Evaluation", "confusion", "evaluate", "score"]


@dataclass(frozen=True)
class Evaluation:
    """Scores, the deciding one first, and the predictions that they are of, one a row."""

    scores: tuple[Score, ...]
    predictions: list[Prediction]


def evaluate(predictor: Predictor, examples: Examples, *, metrics: Sequence[str] | None = None,
             meter: Meter | None = None) -> Evaluation:
    """Predict all rows and score them.

    Args:
        predictor: as it would be served.
        examples: rows with what is wanted.
        metrics: registered names; those that suit the layout unless given.
        meter: what is charged.

    Raises:
        DataError: if there are no rows or no metric.
    """
    _note_unknown_labels(predictor, examples)
    predictions = predictor.predict(examples.rows, meter=meter)
    return Evaluation(score(predictions, examples, metrics=metrics), predictions)


def score(predictions: Sequence[Mapping[str, Any]], examples: Examples, *,
          metrics: Sequence[str] | None = None) -> tuple[Score, ...]:
    """Scores of predictions that were made before."""
    names = tuple(metrics) if metrics is not None else metrics_for(examples.layout)
    if not names:
        raise DataError("no metric was named", fix="name one, or leave it to the layout")
    return tuple(build("metric", name).measure(predictions, examples.rows) for name in names)


def confusion(predictions: Sequence[Mapping[str, Any]], examples: Examples, labels: Sequence[str]) -> np.ndarray:
    """Counts [C, C], int64: rows are true labels and columns predicted ones, both in the order of ``labels``.

    Rows whose true label is not among them have no place in it; `evaluate` warns of those, and counts them as wrong.
    """
    place = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for prediction, row in zip(predictions, examples.rows, strict=True):
        if row["label"] in place:
            counts[place[row["label"]], place[prediction["label"]]] += 1
    return counts


def _note_unknown_labels(predictor: Predictor, examples: Examples) -> None:
    strange = sorted(set(examples.labels) - set(predictor.labels)) if predictor.labels else []
    if strange:
        warn(f"no training row has the label {', '.join(strange[:5])}: it is never predicted")
