"""The families of trust: audits, which score what a model has seen, and unlearning, which takes it back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from torch import nn

from scrimp.core.registry import Cost, Method

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Audit", "Forgetful", "Unlearning"]


class Audit(Method):
    """Scores texts by how likely it is that the model was trained on them."""

    family: ClassVar[str] = "audit"
    verb: ClassVar[str] = "scores"

    def scores(self, model: nn.Module, texts: Sequence[Encoded]) -> np.ndarray:
        """Float64 [N]; the higher, the likelier that it was seen.

        Raises:
            DataError: a text without a trained token.
            ModelError: if the model's log-probabilities are not finite.
        """
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes over each text."""
        raise NotImplementedError


class Forgetful(Protocol):
    """A classifier from which single examples can be taken back, exactly and at once."""

    def log_probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Float64 [N, C] of float32 inputs [N, ...]."""

    def forget(self, rows: Iterable[int]) -> None:
        """Be as if these rows of what it was fitted on had been others."""

    def parameters(self) -> int:
        """Numbers that are kept beside the model that it began with."""


class Unlearning(Method):
    """Learns so that single examples can be taken back."""

    family: ClassVar[str] = "unlearning"
    verb: ClassVar[str] = "fit"

    def fit(self, model: nn.Module, inputs: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Forgetful:
        """A classifier made of ``model``, which itself is not changed.

        Args:
            model: inputs [B, ...] to logits [B, C].
            inputs: float32 [N, ...].
            labels: int64 [N].
            seed: of every random choice; which rows are learned together depends on nothing else.
        """
        raise NotImplementedError

    def cost(self, model: nn.Module, classes: int) -> Cost:
        """The parameters that are kept beside ``model``."""
        raise NotImplementedError
