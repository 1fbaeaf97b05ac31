"""The family of merges: several models of one shape become one, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch

from scrimp.core.registry import Cost, Method

__all__ = ["Merge", "Weights"]

Weights = Mapping[str, torch.Tensor]  # a state dict, or tensors that are read from a file when asked for


class Merge(Method):
    """Merges models; at most one tensor of each is in memory at a time."""

    family: ClassVar[str] = "merging"
    verb: ClassVar[str] = "apply"

    def apply(self, models: Sequence[Weights], *, base: Weights | None = None,
              seed: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """The merged tensors by name, in the dtype of the first model.

        Args:
            models: of one shape; their order is that of weights given in the options.
            base: the model that all of them were tuned from, where the method needs it.
            seed: of every random choice; a tensor's depends on its name and not on its place.

        Raises:
            ModelError: names or shapes that differ, or a base that is missing.
        """
        raise NotImplementedError

    def cost(self, models: Sequence[Weights]) -> Cost:
        """The parameters of the result."""
        raise NotImplementedError
