"""Frozen features: the mean of a model's last states, cached, and what stands on them without any tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier, pool
from scrimp.checkpoints.loading import Checkpoint, Loaded, load
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.core.progress import bar
from scrimp.core.workspace import atomic_write, fingerprint
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
from scrimp.serving.passes import by_length, charge, evaluating, padded

__all__ = ["FrozenHead", "LabelNames", "embed_texts", "hidden_states_of"]

_MAX_TOKENS = 256
_TEMPERATURE = 0.05  # of cosine similarities as log-odds


def embed_texts(loaded: Loaded, texts: Sequence[str], *, max_tokens: int = _MAX_TOKENS, meter: Meter | None = None,
                cache: Path | None = None) -> np.ndarray:
    """The mean of each text's last hidden states: of an encoder, of the encoder under a head, or of a causal model.

    Args:
        loaded: the model.
        texts: cut after ``max_tokens`` tokens.
        meter: what is charged; what the cache holds costs nothing.
        cache: a folder in which embeddings are kept, by text and checkpoint; None keeps none. Only for an untouched
            model.

    Returns:
        float32 [N, D].

    Raises:
        ModelError: if a state is not finite.
    """
    store = _Store(cache, loaded, max_tokens)
    missing = sorted({text for text in texts if text not in store})
    if missing:
        store.add(missing, _embedded(loaded, missing, max_tokens, meter))
    return store.get(texts) if len(texts) else np.zeros((0, loaded.model.config.hidden_size), dtype=np.float32)


def hidden_states_of(model: nn.Module | Any) -> Any:
    """The module whose output has ``last_hidden_state``: without the heads, with the adapters."""
    from peft import PeftModel

    body = model.encoder if isinstance(model, PooledClassifier) else model
    return (body.get_base_model() if isinstance(body, PeftModel) else body).base_model


def _embedded(loaded: Loaded, texts: Sequence[str], max_tokens: int, meter: Meter | None) -> np.ndarray:
    body = hidden_states_of(loaded.model)
    longest = min(max_tokens, getattr(body.config, "max_position_embeddings", max_tokens))
    rows = [loaded.tokenizer(text[:100 * longest], split_special_tokens=True, truncation=True, max_length=longest,
                             verbose=False)["input_ids"] or [loaded.pad_id] for text in texts]
    found = np.zeros((len(rows), body.config.hidden_size), dtype=np.float32)
    with evaluating(body), bar("embedding", len(rows)) as shown:
        for batch in by_length([len(row) for row in rows]):
            ids, real = padded([rows[i] for i in batch], loaded.pad_id, left=False, device=body.device)
            found[batch] = pool(body(input_ids=ids, attention_mask=real).last_hidden_state, real, "mean").cpu().numpy()
            charge(meter, body, int(real.sum()))
            shown.advance(len(batch))
    if not np.isfinite(found).all():
        raise ModelError("the model's states are not finite", where=loaded.checkpoint.name,
                         why="its weights hold NaN or infinity, or overflow in this precision",
                         fix="load it in float32")
    return found


class _Store:
    """Embeddings by text, in memory and, if there is a folder, in one file a model."""

    def __init__(self, folder: Path | None, loaded: Loaded, max_tokens: int) -> None:
        made_by = fingerprint([loaded.checkpoint.fingerprint, loaded.dtype, max_tokens])
        self._path = Path(folder) / f"embeddings-{made_by[:20]}.safetensors" if folder else None
        self._vectors: dict[str, np.ndarray] = {}
        if self._path and self._path.exists():
            self._vectors = self._read(self._path)

    def __contains__(self, text: str) -> bool:
        return self._key(text) in self._vectors

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        self._vectors |= dict(zip(map(self._key, texts), vectors, strict=True))
        if self._path:
            keys = np.frombuffer(bytes.fromhex("".join(self._vectors)), dtype=np.uint8).reshape(-1, 32)
            atomic_write(self._path, to_bytes({"keys": keys, "vectors": np.stack(list(self._vectors.values()))}))

    def get(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vectors[self._key(text)] for text in texts])

    @staticmethod
    def _key(text: str) -> str:
        return fingerprint(text.encode("utf-8", "surrogatepass"))

    @staticmethod
    def _read(path: Path) -> dict[str, np.ndarray]:
        try:
            found = load_file(path)
            return dict(zip((bytes(key).hex() for key in found["keys"]), found["vectors"], strict=True))
        except (OSError, SafetensorError, KeyError, ValueError):
            return {}  # a damaged cache is made anew


class FrozenHead(Predictor):
    """Logistic regression on the standardised, length-normalised features of a model that stays as it is."""

    kind: ClassVar[str] = "frozen-head"

    def __init__(self, loaded: Loaded, head: LinearHead, centre: np.ndarray, spread: np.ndarray, *,
                 max_tokens: int = _MAX_TOKENS, cache: Path | None = None) -> None:
        self._loaded, self._head, self._centre, self._spread = loaded, head, centre, spread
        self._max_tokens, self._cache, self.labels = max_tokens, cache, head.labels

    @classmethod
    def fit(cls, loaded: Loaded, texts: Sequence[str], labels: Sequence[str], *, meter: Meter | None = None,
            seed: int = 0, max_tokens: int = _MAX_TOKENS, cache: Path | None = None) -> FrozenHead:
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
        features = _normalised(embed_texts(loaded, texts, max_tokens=max_tokens, meter=meter, cache=cache))
        centre, spread = _standard(features)
        head = fit_linear_head((features - centre) / spread, labels, seed=seed)
        return cls(loaded, head, centre, spread, max_tokens=max_tokens, cache=cache)

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        features = _normalised(embed_texts(self._loaded, texts_of(rows), max_tokens=self._max_tokens, meter=meter,
                                           cache=self._cache))
        return as_scores(self._head.log_odds((features - self._centre) / self._spread), self.labels)

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

    def __init__(self, loaded: Loaded, labels: Sequence[str], *, max_tokens: int = _MAX_TOKENS) -> None:
        if len(labels) < 2:
            raise DataError("a classifier needs at least two labels")
        self._loaded, self.labels, self._max_tokens = loaded, tuple(labels), max_tokens

    def predict(self, rows: Sequence[Mapping[str, Any]], *, meter: Meter | None = None) -> list[Prediction]:
        names, texts = (_normalised(embed_texts(self._loaded, some, max_tokens=self._max_tokens, meter=meter))
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


def _normalised(vectors: np.ndarray) -> np.ndarray:
    """Each of length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
