"""The families of trust: audits, which score what a model has seen, and unlearning, which takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import nn

from scrimp.core.registry import Cost, Method

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Audit", "Unlearning"]


class Audit(Method):
    """Scores texts by how likely it is that the model was trained on them."""

    family: ClassVar[str] = "audit"
    verb: ClassVar[str] = "scores"

    def scores(self, model: nn.Module, texts: Sequence[Encoded]) -> np.ndarray:
        """Float64 [N]; the higher, the likelier that it was seen."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes over each text."""
        raise NotImplementedError


class Unlearning(Method):
    """Learns so that single examples can be taken back."""

    family: ClassVar[str] = "unlearning"
    verb: ClassVar[str] = "fit"
