"""Nothing but the head."""

from __future__ import annotations

from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, preset
from scrimp.tuning.adapters.base import Adapter, count

__all__ = ["Head"]


class Head(Adapter):
    """Train the classification head on frozen features.

    Needs a pooled classifier; a language model has no head of its own for a task.
    """

    def move(self, model: nn.Module) -> nn.Module:
        _head(model).requires_grad_(True)
        return model

    def cost(self, model: nn.Module) -> Cost:
        return Cost(parameters=count(_head(model).parameters()))


def _head(model: nn.Module) -> nn.Module:
    if not isinstance(model, PooledClassifier):
        raise ModelError(f"a {type(model).__name__} has no classification head", fix="tune it with adapter: lora")
    return model.head


preset("head", Head)
