"""The family of condensers: a few made-up examples that train like many real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scrimp.core.registry import Cost, Method

__all__ = ["Condensed", "Condenser"]


@dataclass(frozen=True)
class Condensed:
    """Made-up examples.

    Attributes:
        inputs: float32 [N, ...], in the shape of the real ones.
        targets: float32 [N, C], the share of each class; rows sum to one.
    """

    inputs: np.ndarray
    targets: np.ndarray


class Condenser(Method):
    """Condenses arrays with classes."""

    family: ClassVar[str] = "condensation"
    verb: ClassVar[str] = "condense"

    def condense(self, inputs: np.ndarray, labels: np.ndarray, per_class: int, *, seed: int = 0) -> Condensed:
        """``per_class`` examples of each class from float32 ``inputs`` [N, ...] and int64 ``labels`` [N]."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes over each real example."""
        raise NotImplementedError
