"""What needs no pretrained model: words, counted and weighed, and always the same answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from scrimp.checkpoints.loading import Checkpoint
from scrimp.checkpoints.validation import read_object
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.core.workspace import atomic_write
from scrimp.examples.records import Examples, Layout
from scrimp.serving.base import Manifest, Prediction, Predictor, as_sets, read_tensors, write_tensors
from scrimp.serving.heads import checked, has_each
from scrimp.tuning.heads.several import best_threshold

__all__ = ["Constant", "fitted_vectorizer", "read_texts", "read_vocabulary", "restored_vectorizer", "write_vocabulary"]

_VOCABULARY = "vocabulary.json"
_WORDS = r"(?u)\w+|[^\w\s]"  # punctuation and emoji carry meaning too, and leave no text without a word


class Constant(Predictor):
    """Always the same: the mean score of the training rows, or of each label the share of them that has it.

    Args:
        score: the mean; None of labels.
        shares: of each label; none of scores.
        threshold: the share from which on a label is said.
    """

    kind: ClassVar[str] = "constant"

    def __init__(self, score: float | None = None, *, shares: Mapping[str, float] | None = None,
                 threshold: float = 0.5) -> None:
        self._score, self._shares, self._threshold = score, dict(shares or {}), threshold
        self.labels = tuple(self._shares)

    @classmethod
    def fit(cls, train: Examples) -> Constant:
        """Of rows with scores, or with several labels: the threshold is then the best one for these rows."""
        if train.layout is Layout.SCORE:
            return cls(fmean(row["score"] for row in train.rows))
        has = has_each([row["labels"] for row in train.rows], train.labels)
        shares = has.mean(axis=0).astype(np.float32)
        return cls(shares=dict(zip(train.labels, shares.tolist(), strict=True)),
                   threshold=best_threshold(np.broadcast_to(shares, has.shape), has))

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        if not self.labels:
            return [{"score": self._score} for _ in rows]
        return as_sets(np.array([[*self._shares.values()]] * len(rows)), self.labels, self._threshold)

    def write(self, folder: Path) -> Manifest:
        if not self.labels:
            return Manifest(kind=self.kind, settings={"score": self._score})
        write_tensors(folder, shares=np.array([*self._shares.values()]))
        return Manifest(kind=self.kind, labels=self.labels, settings={"threshold": self._threshold})

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> Constant:
        if not manifest.labels:
            return cls(checked(manifest.settings, any_=("score",))["score"])
        shares = read_tensors(folder, shares=(len(manifest.labels),))["shares"]
        return cls(shares=dict(zip(manifest.labels, shares.tolist(), strict=True)),
                   threshold=checked(manifest.settings, positive=("threshold",))["threshold"])


def _vectorizer(**known: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORDS, max_features=50_000, **known)


def fitted_vectorizer(texts: Sequence[str]) -> tuple[Any, Any]:
    """What weighs the words and word pairs of ``texts`` by TF-IDF, and their rows, sparse, of length one.

    Raises:
        DataError: if no text has a word.
    """
    vectorizer = _vectorizer()
    try:
        return vectorizer, vectorizer.fit_transform(texts)
    except ValueError:
        raise DataError("no text holds a word, so there is nothing to count") from None


def write_vocabulary(folder: Path, vectorizer: Any) -> None:
    """Its words into a file of ``folder``; its idf weights are a tensor of the predictor."""
    places = vectorizer.vocabulary_
    atomic_write(folder / _VOCABULARY, json.dumps({"words": sorted(places, key=places.__getitem__)}))


def read_vocabulary(folder: Path) -> list[str]:
    """The words that `write_vocabulary` wrote, in order.

    Raises:
        ModelError: if the file is missing or damaged, or a word occurs twice.
    """
    words = read_texts(folder / _VOCABULARY, "words")
    if len(set(words)) < len(words):
        raise ModelError("a word occurs twice", where=str(folder / _VOCABULARY))
    return words


def read_texts(path: Path, key: str) -> list[str]:
    """The texts that a JSON file tells under ``key``.

    Raises:
        ModelError: if it tells none there, or something else.
    """
    found = read_object(path).get(key)
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise ModelError(f"'{key}' is no list of texts", where=str(path))
    return found


def restored_vectorizer(words: list[str], idf: np.ndarray) -> Any:
    """What `fitted_vectorizer` made, of its words and their weights [W]."""
    vectorizer = _vectorizer(vocabulary={word: i for i, word in enumerate(words)})
    vectorizer.idf_ = idf.astype(np.float64)
    return vectorizer

