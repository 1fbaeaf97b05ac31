"""Images as rows of tokens, and a small network over them, so that the product's trainer is what learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded

__all__ = ["accuracy", "logits", "perceptron", "rows"]

_GREYS = 16


def rows(images: np.ndarray, classes: np.ndarray) -> list[Encoded]:
    """Images float32 [N, ...] in [0, 1], a token for each pixel, with their classes int64 [N]."""
    tokens = (images.reshape(len(images), -1) * _GREYS).round().astype(int).tolist()
    return [Encoded(ids, [False] * len(ids), target=int(y), row=i)
            for i, (ids, y) in enumerate(zip(tokens, classes, strict=True))]


class _Hidden(nn.Module):
    """One hidden layer over the pixels, as an encoder of one state."""

    def __init__(self, pixels: int, width: int, seed: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=width)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = nn.Linear(pixels, width)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=torch.relu(self.layer(input_ids.float() / _GREYS))[:, None])


def perceptron(pixels: int, classes: int, *, seed: int, width: int = 128) -> PooledClassifier:
    """An untrained classifier with one hidden layer."""
    return PooledClassifier(_Hidden(pixels, width, seed), [str(c) for c in range(classes)], pooling="cls", seed=seed)


def logits(model: nn.Module, given: Sequence[Encoded]) -> np.ndarray:
    """float32 [N, C]."""
    batch = collate(given, pad_id=0)
    with torch.inference_mode():
        return model(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)).numpy()


def accuracy(model: nn.Module, given: Sequence[Encoded]) -> float:
    """Share of the rows whose class is found."""
    return float((logits(model, given).argmax(axis=1) == [row.target for row in given]).mean())
