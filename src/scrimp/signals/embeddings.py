"""One vector of a model's last states for each text or row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier, pool
from scrimp.checkpoints.loading import Loaded
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.core.workspace import Workspace
from scrimp.signals.passes import Found, Pass, evaluating, forward_of, kept, padded, positions_of, run

__all__ = ["MAX_TOKENS", "EmbeddingPass", "StatePass", "StatePooling", "embed_texts", "hidden_states_of",
           "longest_text"]

StatePooling = Literal["mean", "position", "last"]
MAX_TOKENS = 256  #: of each text, where nothing else is said


def embed_texts(loaded: Loaded, texts: Sequence[str], *, max_tokens: int = MAX_TOKENS, meter: Meter | None = None,
                cache: Path | None = None) -> np.ndarray:
    """The mean of each text's last hidden states: of an encoder, of the encoder under a head, or of a causal model.

    Args:
        loaded: the model.
        texts: cut after ``max_tokens`` tokens.
        meter: what is charged; what the cache holds costs nothing.
        cache: a workspace's folder in which embeddings are kept, by text and checkpoint; None keeps none. Only for an
            untouched model.

    Returns:
        float32 [N, D].

    Raises:
        ModelError: if a state is not finite.
    """
    work, distinct = EmbeddingPass(loaded, max_tokens), sorted(set(texts))
    found = (run(work, distinct, meter=meter) if cache is None else
             kept(work, work.question, distinct, Workspace(cache), meter=meter))
    place = {text: row for row, text in enumerate(distinct)}
    return np.asarray(found.values)[np.array([place[text] for text in texts], dtype=np.int64)]


def hidden_states_of(model: nn.Module | Any) -> Any:
    """The module whose output has ``last_hidden_state``: without the heads, with the adapters."""
    from peft import PeftModel

    body = model.encoder if isinstance(model, PooledClassifier) else model
    return (body.get_base_model() if isinstance(body, PeftModel) else body).base_model


def longest_text(loaded: Loaded, max_tokens: int) -> int:
    """Tokens of a text that are read: as many as were asked for, and no more than the model has positions."""
    config = hidden_states_of(loaded.model).config
    return min(max_tokens, getattr(config, "max_position_embeddings", max_tokens))


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
    def question(self) -> list[Any]:
        """What decides the answers, of a model that is as its checkpoint has it."""
        return [self.loaded.checkpoint.fingerprint, self.loaded.dtype, self.max_tokens]

    @property
    def width(self) -> int:
        return StatePass(self.loaded).width

    def content(self, row: str) -> Any:
        return row

    def lengths(self, rows: Sequence[str]) -> list[int]:
        return [len(ids) for row in rows for ids in self._ids([row])]

    @contextmanager
    def opened(self) -> Iterator[Callable[[Sequence[str]], Found]]:
        """Raises: ModelError: if a state is not finite."""
        with StatePass(self.loaded).opened() as found_of:
            yield lambda rows: found_of(self._ids(rows))

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        longest = longest_text(self.loaded, self.max_tokens)
        return [self.loaded.tokenizer(text[:100 * longest], split_special_tokens=True, truncation=True,
                                      max_length=longest, verbose=False)["input_ids"] or [self.loaded.pad_id]
                for text in texts]


def _pooled(states: torch.Tensor, real: torch.Tensor, pooling: StatePooling) -> torch.Tensor:
    if pooling != "position":
        return pool(states, real, pooling)
    weights = (positions_of(real) + 1.0) * real
    return torch.einsum("bl,bld->bd", weights / weights.sum(dim=1, keepdim=True), states.float())
