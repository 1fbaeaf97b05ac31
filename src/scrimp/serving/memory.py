"""Training rows that are found again by their words: to say what they answered, or to show them to a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from scrimp.checkpoints.loading import Checkpoint
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.core.workspace import atomic_write
from scrimp.examples.records import Examples, input_text
from scrimp.serving.base import Manifest, Prediction, Predictor, read_tensors, wanted_text, write_tensors
from scrimp.serving.words import fitted_vectorizer, read_texts, read_vocabulary, restored_vectorizer, write_vocabulary

__all__ = ["ANSWERS", "Memory", "NearestAnswer"]

ANSWERS = "answers.json"  #: the file that holds the rows


class Memory:
    """What each of some rows asked and answered.

    Args:
        vectorizer: of the words of the inputs, see `fitted_vectorizer`.
        inputs, answers: N of each.
    """

    def __init__(self, vectorizer: Any, inputs: Sequence[str], answers: Sequence[str]) -> None:
        self._vectorizer, self._inputs, self._answers = vectorizer, list(inputs), list(answers)
        self._known = vectorizer.transform(self._inputs)

    @classmethod
    def of(cls, train: Examples) -> Self:
        """Of rows with labels or free answers.

        Raises:
            DataError: if no input has a word.
        """
        inputs = [input_text(row) for row in train.rows]
        answers = [row["label"] if "label" in row else wanted_text(row) for row in train.rows]
        return cls(fitted_vectorizer(inputs)[0], inputs, answers)

    def nearest(self, texts: Sequence[str], count: int = 1) -> list[list[tuple[str, str]]]:
        """Of each text the (input, answer) of the rows whose words are the most similar, the most similar last."""
        if not texts:
            return []
        likeness = (self._vectorizer.transform(texts) @ self._known.T).toarray()
        order = np.argsort(likeness, axis=1, kind="stable")[:, -count:]
        return [[(self._inputs[at], self._answers[at]) for at in row] for row in order.tolist()]

    def write(self, folder: Path) -> None:
        """Put it into ``folder``."""
        write_vocabulary(folder, self._vectorizer)
        write_tensors(folder, idf=self._vectorizer.idf_)
        atomic_write(folder / ANSWERS, json.dumps({"inputs": self._inputs, "answers": self._answers}))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` put there.

        Raises:
            ModelError: if anything of it is missing or damaged.
        """
        words = read_vocabulary(folder)
        inputs, answers = (read_texts(folder / ANSWERS, name) for name in ("inputs", "answers"))
        if len(inputs) != len(answers):
            raise ModelError(f"{len(inputs)} inputs have {len(answers)} answers", where=str(folder / ANSWERS))
        return cls(restored_vectorizer(words, read_tensors(folder, idf=(len(words),))["idf"]), inputs, answers)


class NearestAnswer(Predictor):
    """The answer of the training row whose words are the most similar: looking up, without any learning."""

    kind: ClassVar[str] = "nearest-answer"

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @classmethod
    def fit(cls, train: Examples, *, meter: Meter | None = None) -> NearestAnswer:
        """Remember the rows of a layout with free answers.

        Raises:
            DataError: if no input has a word.
        """
        return cls(Memory.of(train))

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        return [{"text": answer} for (_, answer), in self._memory.nearest([input_text(row) for row in rows])]

    def write(self, folder: Path) -> Manifest:
        self._memory.write(folder)
        return Manifest(kind=self.kind)

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> NearestAnswer:
        return cls(Memory.read(folder))
