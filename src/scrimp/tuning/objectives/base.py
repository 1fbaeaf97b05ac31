"""The family of objectives: a summed loss with its count, so that micro-batches add up exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import nn

from scrimp.core.registry import Method

if TYPE_CHECKING:
    from scrimp.examples.batching import Batch
    from scrimp.examples.templates import Encoded

__all__ = ["Loss", "Objective", "TorchBatch"]


@dataclass(frozen=True)
class TorchBatch:
    """Examples on the device.

    Attributes:
        input_ids: int64 [B, L].
        attention_mask: int64 [B, L], 1 for tokens and 0 for padding.
        trained: bool [B, L], whether a token is to be learned.
        targets: int64 [B], the class of each example, or -1.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    trained: torch.Tensor
    targets: torch.Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Self:
        """The same arrays as tensors on ``device``."""
        return cls(
            input_ids=torch.as_tensor(batch.input_ids, dtype=torch.int64, device=device),
            attention_mask=torch.as_tensor(batch.attention_mask, dtype=torch.int64, device=device),
            trained=torch.as_tensor(batch.trained, dtype=torch.bool, device=device),
            targets=torch.as_tensor(batch.targets, dtype=torch.int64, device=device))


@dataclass(frozen=True)
class Loss:
    """A loss summed over what is trained (float32 scalar with its graph, in nats), and how many there were."""

    total: torch.Tensor
    count: int


class Objective(Method):
    """What is to be made small."""

    family: ClassVar[str] = "objective"
    verb: ClassVar[str] = "loss"

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        """The loss of a batch, summed over its trained tokens or rows and never averaged."""
        raise NotImplementedError

    def supervised(self, example: Encoded) -> int:
        """How many tokens or rows of this example the loss counts."""
        raise NotImplementedError
