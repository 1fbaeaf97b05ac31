"""One vector of a model's last states for each text or row, and the file that keeps those of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from scrimp.core.workspace import atomic_write, fingerprint
from scrimp.signals.passes import Found, Pass, evaluating, forward_of, padded, positions_of, run

__all__ = ["MAX_TOKENS", "EmbeddingPass", "StatePass", "StatePooling", "embed_texts", "hidden_states_of"]

StatePooling = Literal["mean", "position", "last"]
MAX_TOKENS = 256  #: of each text, where nothing else is said
_TOKENIZED = 1024  # texts whose tokens are held at once, for their number


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
        store.add(missing, run(EmbeddingPass(loaded, max_tokens), missing, meter=meter).values)
    return store.get(texts) if len(texts) else np.zeros((0, loaded.model.config.hidden_size), dtype=np.float32)


def hidden_states_of(model: nn.Module | Any) -> Any:
    """The module whose output has ``last_hidden_state``: without the heads, with the adapters."""
    from peft import PeftModel

    body = model.encoder if isinstance(model, PooledClassifier) else model
    return (body.get_base_model() if isinstance(body, PeftModel) else body).base_model


@dataclass(frozen=True)
class StatePass(Pass[Sequence[int]]):
    """One vector of a model's last hidden states for each row of token ids, of which none is empty.

    Attributes:
        loaded: an encoder, or a causal model.
        pooling: the mean; the mean by "position", in which the i-th token counts i times, since a causal model knows
            the more, the later it is; or the last token's state.
    """

    loaded: Loaded
    pooling: StatePooling = "mean"
    kind = "states"
    said = "reading states"

    @property
    def width(self) -> int:
        return int(hidden_states_of(self.loaded.model).config.hidden_size)

    def content(self, row: Sequence[int]) -> Any:
        return list(row)

    def lengths(self, rows: Sequence[Sequence[int]]) -> list[int]:
        return [len(row) for row in rows]

    @contextmanager
    def opened(self) -> Iterator[Callable[[Sequence[Sequence[int]]], Found]]:
        """Raises: ModelError: if a state is not finite."""
        body = hidden_states_of(self.loaded.model)

        def found(rows: Sequence[Sequence[int]]) -> Found:
            ids, real = padded(rows, self.loaded.pad_id, left=False, device=body.device)
            states = _pooled(body(input_ids=ids, attention_mask=real).last_hidden_state, real, self.pooling)
            if not bool(states.isfinite().all()):
                raise ModelError("the model's states are not finite", where=self.loaded.checkpoint.name,
                                 why="its weights hold NaN or infinity, or overflow in this precision",
                                 fix="load it in float32")
            return forward_of(body, int(real.sum()), states.float().cpu().numpy())

        with evaluating(body):
            yield found


@dataclass(frozen=True)
class EmbeddingPass(Pass[str]):
    """The mean of a model's last states for each text.

    Attributes:
        loaded: an encoder, or a causal model.
        max_tokens: of a text that are read.
    """

    loaded: Loaded
    max_tokens: int = MAX_TOKENS
    kind = "embeddings"
    said = "embedding"

    @property
    def width(self) -> int:
        return StatePass(self.loaded).width

    def content(self, row: str) -> Any:
        return row

    def lengths(self, rows: Sequence[str]) -> list[int]:
        return [len(ids) for at in range(0, len(rows), _TOKENIZED) for ids in self._ids(rows[at:at + _TOKENIZED])]

    @contextmanager
    def opened(self) -> Iterator[Callable[[Sequence[str]], Found]]:
        """Raises: ModelError: if a state is not finite."""
        with StatePass(self.loaded).opened() as found_of:
            yield lambda rows: found_of(self._ids(rows))

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        config = hidden_states_of(self.loaded.model).config
        longest = min(self.max_tokens, getattr(config, "max_position_embeddings", self.max_tokens))
        return [self.loaded.tokenizer(text[:100 * longest], split_special_tokens=True, truncation=True,
                                      max_length=longest, verbose=False)["input_ids"] or [self.loaded.pad_id]
                for text in texts]


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
