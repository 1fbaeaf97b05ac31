"""One vector of a model's last states for each text or row, and the file that keeps those of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier, pool
from scrimp.checkpoints.loading import Loaded
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.core.progress import bar
from scrimp.core.workspace import atomic_write, fingerprint
from scrimp.signals.passes import by_length, charge, evaluating, padded, positions_of

__all__ = ["MAX_TOKENS", "StatePooling", "embed_texts", "hidden_states_of", "pooled_states"]

StatePooling = Literal["mean", "position", "last"]
MAX_TOKENS = 256  #: of each text, where nothing else is said


def embed_texts(loaded: Loaded, texts: Sequence[str], *, max_tokens: int = MAX_TOKENS, meter: Meter | None = None,
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
    return pooled_states(loaded, rows, meter=meter)


def pooled_states(loaded: Loaded, rows: Sequence[Sequence[int]], *, pooling: StatePooling = "mean",
                  meter: Meter | None = None) -> np.ndarray:
    """One vector of the last hidden states of each row of token ids, float32 [N, D].

    Args:
        loaded: the model.
        rows: at least one token each.
        pooling: the mean; the mean by "position", in which the i-th token counts i times, since a causal model knows
            the more, the later it is; or the last token's state.
        meter: what is charged.

    Raises:
        ModelError: if a state is not finite.
    """
    body = hidden_states_of(loaded.model)
    found = np.zeros((len(rows), body.config.hidden_size), dtype=np.float32)
    with evaluating(body), bar("embedding", len(rows)) as shown:
        for batch in by_length([len(row) for row in rows]):
            ids, real = padded([rows[i] for i in batch], loaded.pad_id, left=False, device=body.device)
            states = body(input_ids=ids, attention_mask=real).last_hidden_state
            found[batch] = _pooled(states, real, pooling).cpu().numpy()
            charge(meter, body, int(real.sum()))
            shown.advance(len(batch))
    if not np.isfinite(found).all():
        raise ModelError("the model's states are not finite", where=loaded.checkpoint.name,
                         why="its weights hold NaN or infinity, or overflow in this precision",
                         fix="load it in float32")
    return found


def _pooled(states: torch.Tensor, real: torch.Tensor, pooling: StatePooling) -> torch.Tensor:
    if pooling != "position":
        return pool(states, real, pooling)
    weights = (positions_of(real) + 1.0) * real
    return torch.einsum("bl,bld->bd", weights / weights.sum(dim=1, keepdim=True), states.float())


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
