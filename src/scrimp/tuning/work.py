"""Floating-point operations of training, estimated from parameter counts."""

from __future__ import annotations

from collections.abc import Iterable
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
        below: those of the body that tokens do not pass whose states are known, far from all that moves.
    """

    body: int
    reached: int
    moving: int
    head: int
    below: int = 0

    @classmethod
    def of(cls, model: Any, below: Iterable[nn.Parameter] = ()) -> Work:
        """Counted from a model with its adapter attached; ``below`` are parameters that known states need not pass."""
        output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        head = list(output.parameters()) if output is not None else []
        tables = [p for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()]
        aside = {id(p) for p in [*tables, *head]}
        body = [p for p in model.parameters() if id(p) not in aside]
        lowest = next((i for i, p in enumerate(body) if p.requires_grad), len(body))
        return cls(body=weights_in(body), reached=weights_in(body[lowest:]), head=weights_in(head),
                   below=weights_in(below), moving=weights_in(p for p in model.parameters() if p.requires_grad))

    def forward_flops(self, tokens: int, predicted: int) -> float:
        """Operations of one forward pass over ``tokens``, of which ``predicted`` pass the output layer."""
        return 2.0 * (tokens * self.body + predicted * self.head)

    def flops(self, tokens: int, predicted: int, below: int | None = None, *, recomputed: bool = False) -> float:
        """Operations of one forward and backward pass over ``tokens``, of which ``predicted`` pass the output layer.

        Args:
            tokens: that pass the body.
            predicted: that pass the output layer.
            below: that pass what is ``below`` of it; as many if left out.
            recomputed: whether they pass the body forward once more, for the backward pass.
        """
        forward = tokens * self.body - (0 if below is None else tokens - below) * self.below
        passes = (2 if recomputed else 1) * forward + tokens * (self.reached + self.moving)
        return 2.0 * passes + 4.0 * predicted * self.head

