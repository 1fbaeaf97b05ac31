"""Metrics: each is a function of sums over rows, so that all share one interval and one paired comparison."""

from __future__ import annotations

import abc
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from scipy.stats import chi2, rankdata

from scrimp.core.errors import DataError
from scrimp.core.options import Options
from scrimp.core.registry import Method, preset
from scrimp.evaluation.outcome import Score
from scrimp.evaluation.statistics import Interval, bootstrap, chosen, mean_of_first, paired_bootstrap, wilson
from scrimp.examples.records import Layout
from scrimp.serving.base import wanted_text

__all__ = ["Difference", "Metric", "metrics_for"]

_ROUNDING = 1e-12  # what is left of squares, in their own size, where nothing varies

Row = Mapping[str, Any]
Prediction = Mapping[str, Any]


class Difference(Options):
    """What one set of predictions scores above another on the same rows, with its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float
    n: int


class Metric(Method):
    """Base of all metrics. A subclass says what a row contributes and what the contributions' sums mean."""

    family: ClassVar[str] = "metric"
    verb: ClassVar[str] = "measure"
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @abc.abstractmethod
    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        """Contributions of the rows, float64 [N, K]."""

    def value(self, sums: np.ndarray) -> np.ndarray:
        """The metric of summed contributions [..., K]; their mean unless a subclass says otherwise."""
        return mean_of_first(sums)

    def measure(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> Score:
        """The score with its 95 % interval.

        Args:
            predictions: what a `Predictor` returned, one a row.
            rows: the rows, with what was wanted.

        Raises:
            DataError: if there are no rows, not as many as predictions, or rows without what this metric needs.
        """
        contributions = self._contributions(predictions, rows)
        found = float(self.value(contributions.sum(axis=0)))
        low, high = self.interval(contributions, found)
        return Score(metric=self.name, value=found, low=min(low, found), high=max(high, found), n=len(rows),
                     higher_is_better=self.higher_is_better)

    def compare(self, before: Sequence[Prediction], after: Sequence[Prediction], rows: Sequence[Row]) -> Difference:
        """How much higher ``after`` scores than ``before``, paired by row."""
        first, second = (self._contributions(predictions, rows) for predictions in (before, after))
        value, low, high = paired_bootstrap(first, second, self.value)
        return Difference(metric=self.name, value=value, low=low, high=high, n=len(rows))

    def expected(self, ways: Sequence[Sequence[Prediction]], rows: Sequence[Row], winner: int) -> Score:
        """What the ``winner``, chosen among ``ways`` by its score on ``rows``, will score on others.

        Its score here is too good by what choosing gains by chance; see `scrimp.evaluation.statistics.chosen`. Its
        interval is moved along, and kept within the metric's bounds.
        """
        contributions = [self._contributions(predictions, rows) for predictions in ways]
        here = self.measure(ways[winner], rows)
        there = chosen(contributions, self.value, higher=self.higher_is_better)
        least, most = self.bounds
        moved = {name: min(max(getattr(here, name) + there - here.value, least), most)
                 for name in ("value", "low", "high")}
        return here.model_copy(update=moved)

    def interval(self, contributions: np.ndarray, found: float) -> Interval:
        """Bootstrapped over rows; where resampling cannot vary (one row, or all alike), as wide as a proportion's."""
        low, high = bootstrap(contributions, self.value) if len(contributions) > 1 else (found, found)
        if low < high:
            return low, high
        least, most = self.bounds
        inner_low, inner_high = wilson((found - least) / (most - least) * len(contributions), len(contributions))
        return least + (most - least) * inner_low, least + (most - least) * inner_high

    def _contributions(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        if not rows or len(predictions) != len(rows):
            raise DataError(f"{len(predictions)} predictions cannot be measured against {len(rows)} rows")
        try:
            return np.asarray(self.per_row(predictions, rows), dtype=np.float64)
        except KeyError as error:
            raise DataError(f"{self.name} needs {error} in every row and prediction",
                            fix="choose a metric that suits the layout") from None


class Accuracy(Metric):
    """Share of rows whose predicted label is the true one."""

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        return _with_ones([p["label"] == row["label"] for p, row in zip(predictions, rows, strict=True)])

    def interval(self, contributions: np.ndarray, found: float) -> Interval:
        return wilson(contributions[:, 0].sum(), len(contributions))


class SubsetAccuracy(Accuracy):
    """Share of rows whose predicted labels are just the true ones: none is missed, and none too many."""

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        return _with_ones([set(p["labels"]) == set(row["labels"]) for p, row in zip(predictions, rows, strict=True)])


class HammingLoss(Metric):
    """Share of all pairs of a row and a label in which it is missed, or said and not true.

    The labels are those of which the predictions tell. Rare labels make it small, whatever is said of them.
    """

    higher_is_better: ClassVar[bool] = False

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        pairs = [(set(p["labels"]), set(row["labels"]), set(p["scores"]))
                 for p, row in zip(predictions, rows, strict=True)]
        return _with_ones([len(said ^ true) / max(len(known | true), 1) for said, true, known in pairs])


class F1(Metric):
    """Base of the harmonic means of precision and recall: of rows with one label, or with several."""

    def counted(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """Whether a row has a label, and whether it is said to have it: bool [N, C] each.

        The labels are those that occur, and those of which a prediction tells.
        """
        true, said = [_labels_of(row) for row in rows], [_labels_of(p) for p in predictions]
        known = {one for some in (*true, *said, *(p.get("scores", ()) for p in predictions)) for one in some}
        place = {label: i for i, label in enumerate(sorted(known))}
        found = np.zeros((2, len(rows), len(place)), dtype=bool)
        for side, sets in zip(found, (true, said), strict=True):
            for row, some in zip(side, sets, strict=True):
                row[[place[label] for label in some]] = True
        return found[0], found[1]


class MicroF1(F1):
    """Harmonic mean of precision and recall over all labels of all rows at once: a common label counts for more.

    Where there is no label, and none is said, it is 1.
    """

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        true, said = self.counted(predictions, rows)
        return np.stack([(true & said).sum(axis=1), true.sum(axis=1) + said.sum(axis=1), np.ones(len(rows))], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        hits, both, count = np.moveaxis(sums, -1, 0)
        found = np.where(both > 0, 2 * hits / np.where(both > 0, both, 1.0), 1.0)
        return np.where(count > 0, found, np.nan)


class MacroF1(F1):
    """Mean over labels of the harmonic mean of precision and recall; labels that occur nowhere are left out.

    Where there is no label, and none is said, it is 1.
    """

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        true, said = self.counted(predictions, rows)
        return np.concatenate([true & said, true, said, np.ones((len(rows), 1))], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        hits, true, said = np.split(sums[..., :-1], 3, axis=-1)
        present = true + said > 0
        scores = np.divide(2 * hits, true + said, out=np.zeros_like(hits), where=present)
        several = present.sum(axis=-1)
        found = np.where(several > 0, scores.sum(axis=-1) / np.maximum(several, 1), 1.0)
        return np.where(sums[..., -1] > 0, found, np.nan)


class CalibrationError(Metric):
    """Expected calibration error: the mean gap between confidence and accuracy, over bins of equally many rows.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning"; with adaptive bins as in Nixon
    et al. 2019, "Measuring Calibration in Deep Learning". The bins are those of the whole set in every resample.

    Attributes:
        bins: how many at most; fewer rows make fewer bins.
    """

    higher_is_better: ClassVar[bool] = False
    bins: int = 10

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        confidence = np.array([p["scores"][p["label"]] for p in predictions])
        right = np.array([p["label"] == row["label"] for p, row in zip(predictions, rows, strict=True)], dtype=float)
        bins = min(self.bins, len(rows))
        place = np.empty(len(rows), dtype=int)
        place[np.argsort(confidence, kind="stable")] = np.arange(len(rows)) * bins // len(rows)
        gaps = np.zeros((len(rows), bins))
        gaps[np.arange(len(rows)), place] = confidence - right
        return np.concatenate([gaps, np.ones((len(rows), 1))], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1]


class ExactMatch(Metric):
    """Share of rows whose generated text is the wanted one, spaces at both ends aside.

    Attributes:
        ignore_case: whether upper and lower case are the same.
    """

    ignore_case: bool = False

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        return _with_ones([self._plain(p["text"]) == self._plain(wanted_text(row))
                           for p, row in zip(predictions, rows, strict=True)])

    def interval(self, contributions: np.ndarray, found: float) -> Interval:
        return wilson(contributions[:, 0].sum(), len(contributions))

    def _plain(self, text: str) -> str:
        return text.strip().casefold() if self.ignore_case else text.strip()


class ChrF(Metric):
    """Mean over rows of the character n-gram F-score, from 0 to 100.

    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; computed by sacreBLEU.
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, 100.0)

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        scorer = _chrf()
        return _with_ones([scorer.sentence_score(p["text"], [wanted_text(row)]).score
                           for p, row in zip(predictions, rows, strict=True)])


class RougeL(Metric):
    """Mean over rows of the F-score of the longest common subsequence of words.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"; computed by rouge_score.
    """

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        scorer = _rouge()
        return _with_ones([scorer.score(wanted_text(row), p["text"])["rougeL"].fmeasure
                           for p, row in zip(predictions, rows, strict=True)])


class Perplexity(Metric):
    """Exponential of the mean loss a token: of how many equally likely tokens the model seems to choose."""

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (1.0, sys.float_info.max)

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        return np.array([[p["loss"], p["tokens"]] for p in predictions])

    def value(self, sums: np.ndarray) -> np.ndarray:
        return np.exp(np.minimum(sums[..., 0] / np.maximum(sums[..., 1], 1), 700.0))

    def interval(self, contributions: np.ndarray, found: float) -> Interval:
        return bootstrap(contributions, self.value) if len(contributions) > 1 else self.bounds


class PreferenceAccuracy(Metric):
    """Share of pairs whose chosen answer is more probable, a token, than the rejected one; a tie is none."""

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        return _with_ones([p["chosen"] > p["rejected"] for p in predictions])

    def interval(self, contributions: np.ndarray, found: float) -> Interval:
        return wilson(contributions[:, 0].sum(), len(contributions))


class OfScores(Metric):
    """What compares the numbers that are said with those that are wanted."""

    def pairs(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """Said and wanted, float64 [N] each."""
        return (np.array([p["score"] for p in predictions], dtype=np.float64),
                np.array([row["score"] for row in rows], dtype=np.float64))


class Misses(OfScores):
    """How far off is what is said; of a single row the interval is that of the spread of normal misses."""

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, sys.float_info.max)

    def interval(self, contributions: np.ndarray, found: float) -> Interval:
        if len(contributions) > 1:
            return bootstrap(contributions, self.value)
        low, high = chi2.ppf([0.975, 0.025], 1) ** -0.5
        return found * float(low), found * float(high)


class RootMeanSquaredError(Misses):
    """Root of the mean squared difference from the true score, in its own unit: large misses weigh more."""

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        said, wanted = self.pairs(predictions, rows)
        return _with_ones((said - wanted) ** 2)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return np.sqrt(mean_of_first(sums))


class MeanAbsoluteError(Misses):
    """Mean distance from the true score, in its own unit."""

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        said, wanted = self.pairs(predictions, rows)
        return _with_ones(np.abs(said - wanted))


class Determination(OfScores):
    """R²: the share of the scores' variance that is explained; 0 is what always saying their mean reaches.

    Of scores that are all the same it is 1 if every one is met, and else 0.
    """

    bounds: ClassVar[tuple[float, float]] = (-sys.float_info.max, 1.0)

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        said, wanted = self.pairs(predictions, rows)
        from_mean = wanted - wanted.mean()  # else small differences of large scores would be rounded away
        return np.stack([(said - wanted) ** 2, from_mean, from_mean**2, np.ones(len(wanted))], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        missed, total, squares, count = np.moveaxis(sums, -1, 0)
        varied = squares - total**2 / count
        several, level = varied > _ROUNDING * squares, np.where(missed > 0, 0.0, 1.0)
        found = np.where(several, 1.0 - missed / np.where(several, varied, 1.0), level)
        return np.where(count > 0, found, np.nan)

    def interval(self, contributions: np.ndarray, found: float) -> Interval:
        return bootstrap(contributions, self.value) if len(contributions) > 1 else self.bounds


class Spearman(OfScores):
    """Correlation of the ranks of what is said and of the true scores: 1 puts the rows in their true order.

    Spearman 1904, "The Proof and Measurement of Association between Two Things". The ranks are those in the whole set,
    in every resample. Where all scores are the same, or all that is said, it is 0.
    """

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def per_row(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> np.ndarray:
        said, wanted = (rankdata(values) / len(values) for values in self.pairs(predictions, rows))
        return np.stack([said, wanted, said**2, wanted**2, said * wanted, np.ones(len(said))], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        said, wanted, said_squares, wanted_squares, products, count = np.moveaxis(sums, -1, 0)
        together = products - said * wanted / count
        apart = (said_squares - said**2 / count) * (wanted_squares - wanted**2 / count)
        several = apart > _ROUNDING * said_squares * wanted_squares
        found = np.where(several, np.clip(together / np.sqrt(np.where(several, apart, 1.0)), -1.0, 1.0), 0.0)
        return np.where(count > 0, found, np.nan)


def metrics_for(layout: Layout) -> tuple[str, ...]:
    """Names of the metrics that suit a layout, the one that decides first."""
    return _LAYOUTS[Layout(layout)]


_FREE = ("exact-match", "chrf", "rouge-l")
_LAYOUTS = {Layout.LABEL: ("accuracy", "macro-f1", "calibration-error"),
            Layout.LABELS: ("micro-f1", "macro-f1", "subset-accuracy", "hamming-loss"),
            Layout.SCORE: ("rmse", "mae", "r2", "spearman"), Layout.PROMPT: _FREE, Layout.CHAT: _FREE,
            Layout.TEXT: ("perplexity",), Layout.PREFERENCE: ("preference-accuracy",)}


def _labels_of(told: Mapping[str, Any]) -> Sequence[str]:
    """The labels of a row or a prediction, one or several."""
    return told["labels"] if "labels" in told else (told["label"],)


def _with_ones(values: Sequence[float]) -> np.ndarray:
    return np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=1)


@lru_cache(maxsize=1)
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


preset("accuracy", Accuracy)
preset("macro-f1", MacroF1)
preset("micro-f1", MicroF1)
preset("subset-accuracy", SubsetAccuracy)
preset("hamming-loss", HammingLoss)
preset("calibration-error", CalibrationError)
preset("exact-match", ExactMatch)
preset("chrf", ChrF)
preset("rouge-l", RougeL)
preset("perplexity", Perplexity)
preset("preference-accuracy", PreferenceAccuracy)
preset("rmse", RootMeanSquaredError)
preset("mae", MeanAbsoluteError)
preset("r2", Determination)
preset("spearman", Spearman)
