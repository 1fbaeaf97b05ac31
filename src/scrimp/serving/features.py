"""What stands on the frozen features of a model, without any tuning of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scrimp.checkpoints.loading import Checkpoint, Loaded, load
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
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
from scrimp.serving.logistic import LinearHead, fit_linear_head
from scrimp.signals.embeddings import MAX_TOKENS, embed_texts, longest_text

__all__ = ["FrozenHead", "LabelNames", "unit_embeddings"]

_TEMPERATURE = 0.05  # of cosine similarities as log-odds


class FrozenHead(Predictor):
    """Logistic regression on the standardised, length-normalised features of a model that stays as it is."""

    kind: ClassVar[str] = "frozen-head"

    def __init__(self, loaded: Loaded, head: LinearHead, centre: np.ndarray, spread: np.ndarray, *,
                 max_tokens: int = MAX_TOKENS, cache: Path | None = None) -> None:
        self._loaded, self._head, self._centre, self._spread = loaded, head, centre, spread
        self._max_tokens, self._cache, self.labels = max_tokens, cache, head.labels

    @classmethod
    def fit(cls, loaded: Loaded, texts: Sequence[str], labels: Sequence[str], *, meter: Meter | None = None,
            seed: int = 0, max_tokens: int = MAX_TOKENS, cache: Path | None = None) -> FrozenHead:
        """Embed and fit.

        Args:
            loaded: an encoder, or a causal model.
            texts, labels: N of each.
            meter: what is charged.
            seed: of the choice of the penalty.
            max_tokens: of each text.
            cache: see `embed_texts`; predictions use it too.

        Raises:
            DataError: with fewer than two labels.
        """
        features = unit_embeddings(loaded, texts, max_tokens=max_tokens, meter=meter, cache=cache)
        centre, spread = _standard(features)
        head = fit_linear_head((features - centre) / spread, labels, seed=seed)
        return cls(loaded, head, centre, spread, max_tokens=max_tokens, cache=cache)

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        features = unit_embeddings(self._loaded, texts_of(rows), max_tokens=self._max_tokens, meter=meter,
                                   cache=self._cache)
        return as_scores(self._head.log_odds((features - self._centre) / self._spread), self.labels)

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight [C, D] and bias [C], float32, over vectors of length one: the standardising is in them."""
        weight = self._head.weight.astype(np.float64) / self._spread
        return weight.astype(np.float32), (self._head.bias - weight @ self._centre).astype(np.float32)

    @property
    def longest(self) -> int:
        """Tokens of a text that are read."""
        return longest_text(self._loaded, self._max_tokens)

    def write(self, folder: Path) -> Manifest:
        write_tensors(folder, weight=self._head.weight, bias=self._head.bias, centre=self._centre, spread=self._spread)
        return Manifest(kind=self.kind, labels=self.labels, base=reference(self._loaded),
                        settings={"max_tokens": self._max_tokens, "strength": self._head.strength})

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> FrozenHead:
        settings = manifest.positive("max_tokens", "strength")
        loaded = load(manifest.needed(checkpoint), dtype=manifest.dtype)
        wide, labels = loaded.model.config.hidden_size, len(manifest.labels)
        found = read_tensors(folder, weight=(labels, wide), bias=(labels,), centre=(wide,), spread=(wide,))
        if not (found["spread"] > 0).all():
            raise ModelError("'spread' is not positive", where=str(folder))
        return cls(loaded, LinearHead(manifest.labels, found["weight"], found["bias"], settings["strength"]),
                   found["centre"], found["spread"], max_tokens=int(settings["max_tokens"]))


class LabelNames(Predictor):
    """The label whose name is nearest to the text among an untouched encoder's embeddings: no example is needed.

    Chang et al. 2008, "Importance of Semantic Representation: Dataless Classification".
    """

    kind: ClassVar[str] = "label-names"

    def __init__(self, loaded: Loaded, labels: Sequence[str], *, max_tokens: int = MAX_TOKENS) -> None:
        if len(labels) < 2:
            raise DataError("a classifier needs at least two labels")
        self._loaded, self.labels, self._max_tokens = loaded, tuple(labels), max_tokens

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        names, texts = (unit_embeddings(self._loaded, some, max_tokens=self._max_tokens, meter=meter)
                        for some in (self.labels, texts_of(rows)))
        return as_scores(texts @ names.T / _TEMPERATURE, self.labels)

    def write(self, folder: Path) -> Manifest:
        return Manifest(kind=self.kind, labels=self.labels, base=reference(self._loaded),
                        settings={"max_tokens": self._max_tokens})

    @classmethod
    def restore(cls, folder: Path, manifest: Manifest, checkpoint: Checkpoint | None) -> LabelNames:
        settings = manifest.positive("max_tokens")
        loaded = load(manifest.needed(checkpoint), dtype=manifest.dtype)
        return cls(loaded, manifest.labels, max_tokens=int(settings["max_tokens"]))


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted and divided by, both [D], so that dimensions count alike and rows are about one long.

    A dimension that does not vary is divided by the mean spread: in a few rows that may be chance.
    """
    if not len(features):
        raise DataError("there are no texts to learn from")
    spread = features.std(axis=0)
    typical = float(spread.mean()) or 1.0
    return features.mean(axis=0), np.where(spread > typical / 1000, spread, typical) * np.sqrt(features.shape[1])


def unit_embeddings(loaded: Loaded, texts: Sequence[str], *, max_tokens: int, meter: Meter | None,
                    cache: Path | None = None) -> np.ndarray:
    """`embed_texts`, each of length one."""
    vectors = embed_texts(loaded, texts, max_tokens=max_tokens, meter=meter, cache=cache)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
