"""What is usual: all examples count alike."""

from __future__ import annotations

import torch

from scrimp.core.registry import preset
from scrimp.tuning.weighting.base import Weighting

__all__ = ["Uniform"]


class Uniform(Weighting):
    """All trained tokens of a step count alike."""

    def remembers(self) -> int:
        return 0

    def weights(self, losses: torch.Tensor, recent: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(losses)


preset("uniform", Uniform)
