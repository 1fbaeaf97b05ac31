"""Floating-point operations of training, estimated from parameter counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from scrimp.checkpoints.quantized import weights_in

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """Parameters by the part they play in a training step.

    Kaplan et al. 2020, "Scaling Laws for Neural Language Models": two operations a parameter and token forward, two
    for the gradient of the activations, two for that of the weights. Frozen weights have none of the last, and
    activations below everything that moves none of the second. Attention over earlier tokens is not counted.

    Attributes:
        body: parameters that every token passes, embeddings and output layer excluded.
        reached: those of them at or above the lowest one that moves.
        moving: those that move.
        head: the output layer's, passed by predicted tokens only.
    """

    body: int
    reached: int
    moving: int
    head: int

    @classmethod
    def of(cls, model: Any) -> Work:
        """Counted from a model with its adapter attached."""
        output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        head = list(output.parameters()) if output is not None else []
        tables = [p for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()]
        aside = {id(p) for p in [*tables, *head]}
        body = [p for p in model.parameters() if id(p) not in aside]
        lowest = next((i for i, p in enumerate(body) if p.requires_grad), len(body))
        return cls(body=weights_in(body), reached=weights_in(body[lowest:]), head=weights_in(head),
                   moving=weights_in(p for p in model.parameters() if p.requires_grad))

    def forward_flops(self, tokens: int, predicted: int) -> float:
        """Operations of one forward pass over ``tokens``, of which ``predicted`` pass the output layer."""
        return 2.0 * (tokens * self.body + predicted * self.head)

    def flops(self, tokens: int, predicted: int) -> float:
        """Operations of one forward and backward pass over ``tokens``, of which ``predicted`` pass the output layer."""
        return 2.0 * tokens * (self.body + self.reached + self.moving) + 4.0 * predicted * self.head
