"""The family of decoding: the next token's logits from those of several models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from scrimp.core.registry import Cost, Method

__all__ = ["Decoding"]


class Decoding(Method):
    """Combines models over one vocabulary while they decode."""

    family: ClassVar[str] = "decoding"
    verb: ClassVar[str] = "combine"

    def combine(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        """Float32 logits [..., V] from those of each model, in the order that the class documents."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Forward passes for each token."""
        raise NotImplementedError
