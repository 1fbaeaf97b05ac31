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

    Attributes:
        embeddings: let the vectors of the tokens move as well. They are half of a small encoder's weights, of which a
            few rows of text touch next to none.
    """

    embeddings: bool = True

    def move(self, model: nn.Module) -> nn.Module:
        moved = set(map(id, self._moved(model)))
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in moved)
        return model.float()

    def cost(self, model: nn.Module) -> Cost:
        return Cost(parameters=count(self._moved(model)))

    def _moved(self, model: nn.Module) -> list[nn.Parameter]:
        held = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding) and not self.embeddings}
        return [p for name, p in model.named_parameters() if not UNUSED.fullmatch(name) and id(p) not in held]


preset("full", Full)
