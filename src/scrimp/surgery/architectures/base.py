"""The family of architectures: small models that are trained from nothing."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from scrimp.core.registry import Cost, Method

__all__ = ["Architecture"]


class Architecture(Method):
    """Builds a model; its input and output are those of its docstring."""

    family: ClassVar[str] = "architecture"
    verb: ClassVar[str] = "build"

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new model in float32, its weights drawn by ``seed``."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """The parameters of the model."""
        raise NotImplementedError
