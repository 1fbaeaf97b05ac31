"""Nothing but the head."""

from __future__ import annotations

from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.tuning.adapters.base import Adapter

__all__ = ["Head"]


class Head(Adapter):
    """Train the classification head on frozen features.

    Needs a pooled classifier; a language model has no head of its own for a task.
    """

    def move(self, model: nn.Module) -> nn.Module:
        if not isinstance(model, PooledClassifier):
            raise ModelError(f"a {type(model).__name__} has no classification head", fix="tune it with adapter: lora")
        model.head.requires_grad_(True)
        return model


preset("head", Head)
