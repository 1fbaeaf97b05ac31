"""A linear head on features of texts that nothing tunes: word counts, what a frozen model says, or both.

The kind of a predictor is its features; what is wanted of a text (a label, a score) is its head's affair.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from scrimp.checkpoints.loading import Checkpoint, Loaded, load
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.serving.base import (
    MANIFEST,
    Manifest,
    Prediction,
    Predictor,
    read_tensors,
    reference,
    texts_of,
    write_tensors,
)
from scrimp.serving.features import unit_embeddings
from scrimp.serving.heads import LINKS, Head, LabelHead, checked
from scrimp.serving.words import fitted_vectorizer, read_vocabulary, restored_vectorizer, write_vocabulary
from scrimp.signals.embeddings import MAX_TOKENS, longest_text
from scrimp.tuning.heads.logistic import standard

__all__ = ["EmbeddedPredictor", "FrozenHead", "JoinedHead", "LinearPredictor", "WordCounts"]


@dataclass(frozen=True)
class _Frozen:
    """A model that stays as it is, and how texts are put to it.

    Attributes:
        cache: see `embed_texts`.
    """

    loaded: Loaded
    max_tokens: int = MAX_TOKENS
    cache: Path | None = None

    def vectors(self, texts: Sequence[str], meter: Meter | None) -> np.ndarray:
        """Embeddings of length one, [N, D]."""
        return unit_embeddings(self.loaded, texts, max_tokens=self.max_tokens, meter=meter, cache=self.cache)

    @property
    def wide(self) -> int:
        """Numbers of a vector."""
        return int(self.loaded.model.config.hidden_size)

    @classmethod
    def restore(cls, manifest: Manifest, checkpoint: Checkpoint | None) -> _Frozen:
        found = checked({"max_tokens": manifest.settings.get("max_tokens")}, positive=("max_tokens",))
        return cls(load(manifest.needed(checkpoint), dtype=manifest.dtype), int(found["max_tokens"]))


class LinearPredictor(Predictor):
    """A linear head on features of texts. A subclass says what these are."""

    def __init__(self, head: Head, frozen: _Frozen | None = None) -> None:
        self._head, self._frozen, self.labels = head, frozen, head.labels

    @property
    def loaded(self) -> Loaded | None:
        return self._frozen.loaded if self._frozen is not None else None

    @property
    def head(self) -> Head:
        """What stands on the features."""
        return self._head

    @abc.abstractmethod
    def _features(self, texts: Sequence[str], meter: Meter | None) -> Any:
        """Dense or sparse [N, D]."""

    @abc.abstractmethod
    def _tensors(self) -> dict[str, np.ndarray]:
        """What the features are made with."""

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        return self._head.predictions(self._features(texts_of(rows), meter)) if rows else []

    def write(self, folder: Path) -> Manifest:
        write_tensors(folder, weight=self._head.weight, bias=self._head.bias, **self._tensors())
        settings, base = self._head.settings(), None
        if self._frozen is not None:
            settings, base = {"max_tokens": self._frozen.max_tokens, **settings}, reference(self._frozen.loaded)
        return Manifest(kind=self.kind, labels=self.labels, base=base, settings=settings)

    @classmethod
    def _restored(cls, folder: Path, manifest: Manifest, wide: int,
                  **shapes: tuple[int, ...]) -> tuple[Head, dict[str, np.ndarray]]:
        """The head over so many features, and the tensors that these are made with, of these shapes."""
        features = ("link", "max_tokens") if manifest.base is not None else ("link",)
        given = {name: value for name, value in manifest.settings.items() if name not in features}
        link = manifest.settings.get("link", LabelHead.link)
        if not isinstance(link, str) or link not in LINKS:
            raise ModelError(f"there is no linear head with the link {link!r:.40}", where=MANIFEST)
        outputs = LINKS[link].outputs(manifest.labels)
        found = read_tensors(folder, weight=(outputs, wide), bias=(outputs,), **shapes)
        return LINKS[link].restore(manifest.labels, found["weight"], found["bias"], given), found


class WordCounts(LinearPredictor):
    """TF-IDF of words and word pairs."""

    kind: ClassVar[str] = "word-counts"

    def __init__(self, vectorizer: Any, head: Head) -> None:
        super().__init__(head)
        self._vectorizer = vectorizer

    @classmethod
    def fit(cls, texts: Sequence[str], wanted: Sequence[Any], *, head: type[Head] = LabelHead,
            meter: Meter | None = None, seed: int = 0) -> Self:
        """Count and fit.

        Args:
            texts, wanted: N of each; of labels, as of scores, one a text.
            head: what is wanted.
            meter: bills the time; no token passes a model.
            seed: of the choice of the penalty.

        Raises:
            DataError: with nothing to tell apart, or if no text has a word.
        """
        vectorizer, counts = fitted_vectorizer(texts)
        return cls(vectorizer, head.fit(counts, wanted, seed=seed))

    def _features(self, texts: Sequence[str], meter: Meter | None) -> Any:
        return self._vectorizer.transform(texts)

    def _tensors(self) -> dict[str, np.ndarray]:
        return {"idf": self._vectorizer.idf_}

    def write(self, folder: Path) -> Manifest:
        write_vocabulary(folder, self._vectorizer)
        return super().write(folder)

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> Self:
        words = read_vocabulary(folder)
        head, found = cls._restored(folder, manifest, len(words), idf=(len(words),))
        return cls(restored_vectorizer(words, found["idf"]), head)


class EmbeddedPredictor(LinearPredictor):
    """A linear head on what a model that stays as it is says of texts. A subclass says what becomes of that."""

    def __init__(self, frozen: _Frozen, head: Head, *made_with: Any) -> None:
        super().__init__(head, frozen)

    @classmethod
    def fit(cls, loaded: Loaded, texts: Sequence[str], wanted: Sequence[Any], *, head: type[Head] = LabelHead,
            meter: Meter | None = None, seed: int = 0, max_tokens: int = MAX_TOKENS,
            cache: Path | None = None) -> Self:
        """Embed and fit.

        Args:
            loaded: an encoder, or a causal model.
            texts, wanted, head, seed: as those of `WordCounts.fit`.
            meter: what is charged.
            max_tokens: of each text.
            cache: see `embed_texts`; predictions use it too.

        Raises:
            DataError: with nothing to tell apart, or if words are counted and no text has one.
        """
        frozen = _Frozen(loaded, max_tokens, cache)
        features, made_with = cls._learnt(texts, frozen.vectors(texts, meter))
        return cls(frozen, head.fit(features, wanted, seed=seed), *made_with)

    @classmethod
    @abc.abstractmethod
    def _learnt(cls, texts: Sequence[str], vectors: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
        """Features [N, D] of texts that have these embeddings, and what others' are to be made with."""

    def _vectors(self, texts: Sequence[str], meter: Meter | None) -> np.ndarray:
        assert self._frozen is not None
        return self._frozen.vectors(texts, meter)


class FrozenHead(EmbeddedPredictor):
    """The standardised, length-normalised features of a model that stays as it is."""

    kind: ClassVar[str] = "frozen-head"

    def __init__(self, frozen: _Frozen, head: Head, centre: np.ndarray, spread: np.ndarray) -> None:
        super().__init__(frozen, head)
        self._centre, self._spread = centre, spread

    @classmethod
    def _learnt(cls, texts: Sequence[str], vectors: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
        centre, spread = standard(vectors)
        return (vectors - centre) / spread, (centre, spread)

    def _features(self, texts: Sequence[str], meter: Meter | None) -> Any:
        return (self._vectors(texts, meter) - self._centre) / self._spread

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight [C, D] and bias [C], float32, over vectors of length one: the standardising is in them."""
        weight = self._head.weight.astype(np.float64) / self._spread
        return weight.astype(np.float32), (self._head.bias - weight @ self._centre).astype(np.float32)

    @property
    def longest(self) -> int:
        """Tokens of a text that are read."""
        assert self._frozen is not None
        return longest_text(self._frozen.loaded, self._frozen.max_tokens)

    def _tensors(self) -> dict[str, np.ndarray]:
        return {"centre": self._centre, "spread": self._spread}

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> Self:
        frozen = _Frozen.restore(manifest, checkpoint)
        head, found = cls._restored(folder, manifest, frozen.wide, centre=(frozen.wide,), spread=(frozen.wide,))
        if not (found["spread"] > 0).all():
            raise ModelError("'spread' is not positive", where=str(folder))
        return cls(frozen, head, found["centre"], found["spread"])


class JoinedHead(EmbeddedPredictor):
    """A frozen model's features beside TF-IDF word counts, each of length one.

    The model knows what words mean that no example holds; the counts know names and turns of phrase that its vector
    blurs. Where either is worth little, the penalty leaves it aside.
    """

    kind: ClassVar[str] = "joined-head"

    def __init__(self, frozen: _Frozen, head: Head, vectorizer: Any) -> None:
        super().__init__(frozen, head)
        self._vectorizer = vectorizer

    @classmethod
    def _learnt(cls, texts: Sequence[str], vectors: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
        vectorizer, counts = fitted_vectorizer(texts)
        return _beside(vectors, counts), (vectorizer,)

    def _features(self, texts: Sequence[str], meter: Meter | None) -> Any:
        return _beside(self._vectors(texts, meter), self._vectorizer.transform(texts))

    def _tensors(self) -> dict[str, np.ndarray]:
        return {"idf": self._vectorizer.idf_}

    def write(self, folder: Path) -> Manifest:
        write_vocabulary(folder, self._vectorizer)
        return super().write(folder)

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> Self:
        frozen, words = _Frozen.restore(manifest, checkpoint), read_vocabulary(folder)
        head, found = cls._restored(folder, manifest, frozen.wide + len(words), idf=(len(words),))
        return cls(frozen, head, restored_vectorizer(words, found["idf"]))


def _beside(vectors: np.ndarray, counts: Any) -> Any:
    """Sparse [N, D + W] of vectors [N, D] and counts [N, W]."""
    from scipy.sparse import csr_matrix, hstack

    return hstack([csr_matrix(vectors), counts], format="csr")
