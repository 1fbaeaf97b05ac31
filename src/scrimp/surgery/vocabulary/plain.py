"""Embeddings of a new vocabulary that know nothing of its tokens: what every better way must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from scrimp.core.registry import preset
from scrimp.surgery.vocabulary.base import Vectors, Vocabulary

__all__ = ["PlainInit", "drawn_alike"]

_UNTRAINED_STD = 0.02


class PlainInit(Vocabulary):
    """Give every new token the mean of the old embeddings, a draw that is spread as they are, or a draw from nothing.

    - mean-embedding: e = mean of all.
    - normal-embedding: e ~ N(mean, variance), each coordinate by itself.
    - random-embedding: e ~ N(0, 0.02^2), as in an untrained model.

    Attributes:
        draw: which of these.
        shared: tokens that mean the same in both vocabularies, such as the end token; they keep their embeddings.
    """

    draw: Literal["mean", "normal", "random"] = "normal"

    def fill(self, embeddings: torch.Tensor, source: Mapping[str, int], target: Mapping[str, int],
             vectors: tuple[Vectors, Vectors] | None, chance: torch.Generator) -> torch.Tensor:
        rows = max(target.values()) + 1
        if self.draw == "mean":
            return embeddings.mean(0).repeat(rows, 1)
        if self.draw == "normal":
            return drawn_alike(embeddings, rows, chance)
        return torch.randn(rows, embeddings.shape[1], generator=chance).to(embeddings.device) * _UNTRAINED_STD


def drawn_alike(embeddings: torch.Tensor, rows: int, chance: torch.Generator) -> torch.Tensor:
    """[rows, D] drawn with the mean and the spread of each coordinate of ``embeddings`` [V, D]."""
    drawn = torch.randn(rows, embeddings.shape[1], generator=chance).to(embeddings.device)
    return embeddings.mean(0) + drawn * embeddings.std(0, correction=0)


preset("mean-embedding", PlainInit, draw="mean")
preset("normal-embedding", PlainInit, draw="normal")
preset("random-embedding", PlainInit, draw="random")
