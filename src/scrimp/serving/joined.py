"""What a frozen model says of a text and which words it has, side by side under one linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scrimp.checkpoints.loading import Checkpoint, Loaded, load
from scrimp.core.budget import Meter
from scrimp.serving.base import (
    Manifest,
    Prediction,
    Predictor,
    as_scores,
    read_tensors,
    reference,
    texts_of,
    write_tensors,
)
from scrimp.serving.features import unit_embeddings
from scrimp.serving.logistic import LinearHead, fit_linear_head
from scrimp.serving.words import fitted_vectorizer, read_vocabulary, restored_vectorizer, write_vocabulary
from scrimp.signals.embeddings import MAX_TOKENS

__all__ = ["JoinedHead"]


class JoinedHead(Predictor):
    """Logistic regression on a frozen model's features and TF-IDF word counts, each of length one.

    The model knows what words mean that no example holds; the counts know names and turns of phrase that its vector
    blurs. Where either is worth little, the penalty leaves it aside.
    """

    kind: ClassVar[str] = "joined-head"

    def __init__(self, loaded: Loaded, vectorizer: Any, head: LinearHead, *, max_tokens: int = MAX_TOKENS,
                 cache: Path | None = None) -> None:
        self._loaded, self._vectorizer, self._head = loaded, vectorizer, head
        self._max_tokens, self._cache, self.labels = max_tokens, cache, head.labels

    @classmethod
    def fit(cls, loaded: Loaded, texts: Sequence[str], labels: Sequence[str], *, meter: Meter | None = None,
            seed: int = 0, max_tokens: int = MAX_TOKENS, cache: Path | None = None) -> JoinedHead:
        """Embed, count and fit; the arguments are those of `FrozenHead.fit`.

        Raises:
            DataError: with fewer than two labels, or if no text has a word.
        """
        vectorizer, counts = fitted_vectorizer(texts)
        vectors = unit_embeddings(loaded, texts, max_tokens=max_tokens, meter=meter, cache=cache)
        head = fit_linear_head(_beside(vectors, counts), labels, seed=seed)
        return cls(loaded, vectorizer, head, max_tokens=max_tokens, cache=cache)

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        if not rows:
            return []
        texts = texts_of(rows)
        vectors = unit_embeddings(self._loaded, texts, max_tokens=self._max_tokens, meter=meter, cache=self._cache)
        return as_scores(self._head.log_odds(_beside(vectors, self._vectorizer.transform(texts))), self.labels)

    def write(self, folder: Path) -> Manifest:
        write_vocabulary(folder, self._vectorizer)
        write_tensors(folder, idf=self._vectorizer.idf_, weight=self._head.weight, bias=self._head.bias)
        return Manifest(kind=self.kind, labels=self.labels, base=reference(self._loaded),
                        settings={"max_tokens": self._max_tokens, "strength": self._head.strength})

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> JoinedHead:
        settings = manifest.positive("max_tokens", "strength")
        loaded = load(manifest.needed(checkpoint), dtype=manifest.dtype)
        words, labels = read_vocabulary(folder), len(manifest.labels)
        wide = loaded.model.config.hidden_size + len(words)
        found = read_tensors(folder, idf=(len(words),), weight=(labels, wide), bias=(labels,))
        head = LinearHead(manifest.labels, found["weight"], found["bias"], settings["strength"])
        return cls(loaded, restored_vectorizer(words, found["idf"]), head, max_tokens=int(settings["max_tokens"]))


def _beside(vectors: np.ndarray, counts: Any) -> Any:
    """Sparse [N, D + W] of vectors [N, D] and counts [N, W]."""
    from scipy.sparse import csr_matrix, hstack

    return hstack([csr_matrix(vectors), counts], format="csr")
