"""Everything moves."""

from __future__ import annotations

from torch import nn

from scrimp.core.registry import Cost, preset
from scrimp.tuning.adapters.base import UNUSED, Adapter, count

__all__ = ["Full"]


class Full(Adapter):
    """Train all weights.

    They are kept in float32, twice the memory of a bfloat16 base, because bfloat16 weights swallow small updates.
    The trainer's forward pass still runs in the base's own precision, and the result stays float32.
    """

    def move(self, model: nn.Module) -> nn.Module:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not UNUSED.fullmatch(name))
        return model.float()

    def cost(self, model: nn.Module) -> Cost:
        return Cost(parameters=count(p for name, p in model.named_parameters() if not UNUSED.fullmatch(name)))


preset("full", Full)
