"""The family of growth: a larger model that begins where a smaller one ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from scrimp.core.registry import Cost, Method

__all__ = ["Growth"]


class Growth(Method):
    """Grows a decoder."""

    family: ClassVar[str] = "growth"
    verb: ClassVar[str] = "apply"

    def apply(self, weights: Mapping[str, torch.Tensor], config: Mapping[str, Any], *,
              seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The larger model's weights and its transformers configuration.

        Raises:
            ModelError: a model whose layers cannot be told from its names and configuration.
        """
        raise NotImplementedError

    def cost(self, config: Mapping[str, Any]) -> Cost:
        """The parameters of the larger model."""
        raise NotImplementedError
