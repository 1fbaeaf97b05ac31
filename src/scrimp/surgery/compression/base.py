"""The family of compression: a smaller model that does nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from scrimp.core.registry import Cost, Method

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Compression"]


class Compression(Method):
    """Prunes or rounds the weights of a model's linear layers, by what flows through them."""

    family: ClassVar[str] = "compression"
    verb: ClassVar[str] = "apply"

    def apply(self, model: nn.Module, calibration: Sequence[Encoded]) -> nn.Module:
        """``model`` compressed in place, layer by layer, from the activations of ``calibration``.

        Weights stay dense tensors of their own type: what is pruned is zero, what is rounded stands on its grid.

        Raises:
            ModelError: if the model has no chain of blocks with linear layers.
            DataError: if there is nothing to calibrate on.
        """
        raise NotImplementedError

    def cost(self, model: nn.Module, rows: int) -> Cost:
        """Passes through the blocks of ``model`` over each of ``rows`` calibration rows, on average."""
        raise NotImplementedError
