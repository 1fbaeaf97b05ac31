"""The frozen features of a model, and what they tell of labels without any example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scrimp.checkpoints.loading import Checkpoint, Loaded, load
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.serving.base import Manifest, Prediction, Predictor, as_scores, reference, texts_of
from scrimp.signals.embeddings import MAX_TOKENS, embed_texts

__all__ = ["LabelNames", "unit_embeddings"]

_TEMPERATURE = 0.05  # of cosine similarities as log-odds


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


def unit_embeddings(loaded: Loaded, texts: Sequence[str], *, max_tokens: int, meter: Meter | None,
                    cache: Path | None = None) -> np.ndarray:
    """`embed_texts`, each of length one."""
    vectors = embed_texts(loaded, texts, max_tokens=max_tokens, meter=meter, cache=cache)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
