"""The family of condensers: a few made-up examples that train like many real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scrimp.core.errors import DataError
from scrimp.core.registry import Cost, Method

__all__ = ["Condensed", "Condenser", "rows_by_class"]


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
        """``per_class`` examples of each class from float32 ``inputs`` [N, ...] and int64 ``labels`` [N].

        The classes are ``range(labels.max() + 1)``.

        Raises:
            DataError: a class with fewer than ``per_class`` rows.
        """
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes over each real example."""
        raise NotImplementedError


def rows_by_class(labels: np.ndarray, per_class: int) -> list[np.ndarray]:
    """The rows of each class.

    Raises:
        DataError: a class with fewer than ``per_class`` rows, or none asked for.
    """
    if per_class < 1 or not len(labels):
        raise DataError(f"{per_class} of each class of {len(labels)} rows is nothing to learn from")
    found = [np.flatnonzero(labels == c) for c in range(int(labels.max()) + 1)]
    least = min(range(len(found)), key=lambda c: len(found[c]))
    if len(found[least]) < per_class:
        raise DataError(f"class {least} has {len(found[least])} rows, {per_class} were asked for")
    return found
