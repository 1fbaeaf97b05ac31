"""What needs no pretrained model: words counted, the answer of the nearest training row, and always the same answer."""

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
from scrimp.examples.records import Examples, Layout, input_text
from scrimp.serving.base import Manifest, Prediction, Predictor, as_sets, read_tensors, wanted_text, write_tensors
from scrimp.serving.heads import checked, has_each
from scrimp.tuning.heads.several import best_threshold

__all__ = ["Constant", "NearestAnswer", "fitted_vectorizer", "read_vocabulary", "restored_vectorizer",
           "write_vocabulary"]

_VOCABULARY = "vocabulary.json"
_ANSWERS = "answers.json"
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


class NearestAnswer(Predictor):
    """The answer of the training row whose words are the most similar: looking up, without any learning."""

    kind: ClassVar[str] = "nearest-answer"

    def __init__(self, vectorizer: Any, inputs: Sequence[str], answers: Sequence[str]) -> None:
        self._vectorizer, self._inputs, self._answers = vectorizer, list(inputs), list(answers)
        self._known = vectorizer.transform(self._inputs)

    @classmethod
    def fit(cls, train: Examples, *, meter: Meter | None = None) -> NearestAnswer:
        """Remember the rows of a layout with free answers.

        Raises:
            DataError: if no input has a word.
        """
        inputs = [input_text(row) for row in train.rows]
        return cls(fitted_vectorizer(inputs)[0], inputs, [wanted_text(row) for row in train.rows])

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        if not rows:
            return []
        likeness = self._vectorizer.transform([input_text(row) for row in rows]) @ self._known.T
        return [{"text": self._answers[int(at)]} for at in np.asarray(likeness.argmax(axis=1)).ravel()]

    def write(self, folder: Path) -> Manifest:
        write_vocabulary(folder, self._vectorizer)
        write_tensors(folder, idf=self._vectorizer.idf_)
        atomic_write(folder / _ANSWERS, json.dumps({"inputs": self._inputs, "answers": self._answers}))
        return Manifest(kind=self.kind)

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> NearestAnswer:
        words = read_vocabulary(folder)
        inputs, answers = _texts(folder / _ANSWERS, "inputs"), _texts(folder / _ANSWERS, "answers")
        if len(inputs) != len(answers):
            raise ModelError(f"{len(inputs)} inputs have {len(answers)} answers", where=str(folder / _ANSWERS))
        return cls(restored_vectorizer(words, read_tensors(folder, idf=(len(words),))["idf"]), inputs, answers)


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
    words = _texts(folder / _VOCABULARY, "words")
    if len(set(words)) < len(words):
        raise ModelError("a word occurs twice", where=str(folder / _VOCABULARY))
    return words


def _texts(path: Path, key: str) -> list[str]:
    found = read_object(path).get(key)
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise ModelError(f"'{key}' is no list of texts", where=str(path))
    return found


def restored_vectorizer(words: list[str], idf: np.ndarray) -> Any:
    """What `fitted_vectorizer` made, of its words and their weights [W]."""
    vectorizer = _vectorizer(vocabulary={word: i for i, word in enumerate(words)})
    vectorizer.idf_ = idf.astype(np.float64)
    return vectorizer

