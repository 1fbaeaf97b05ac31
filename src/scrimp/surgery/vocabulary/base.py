"""The family of vocabulary transfer: embeddings for tokens that the model has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from scrimp.core.registry import Cost, Method

__all__ = ["Vocabulary"]


class Vocabulary(Method):
    """Makes the embeddings of a new vocabulary."""

    family: ClassVar[str] = "vocabulary"
    verb: ClassVar[str] = "apply"

    def apply(self, embeddings: torch.Tensor, source: Mapping[str, int], target: Mapping[str, int], *,
              vectors: Mapping[str, torch.Tensor] | None = None, seed: int = 0) -> torch.Tensor:
        """Embeddings [V', D] for ``target`` (token -> id) from ``embeddings`` [V, D] of ``source``.

        ``vectors`` are static vectors of tokens of both vocabularies in one space, where the method needs them.
        """
        raise NotImplementedError

    def cost(self, embeddings: torch.Tensor, target: Mapping[str, int]) -> Cost:
        """The parameters of the result."""
        raise NotImplementedError
