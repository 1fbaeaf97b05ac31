"""The family of objectives: a summed loss with its count, so that micro-batches add up exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, Method

if TYPE_CHECKING:
    from scrimp.core.budget import Meter
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
        second: int64 [B], for what belongs to a row (a rejected answer, a rationale) the place of that row, else -1.
        reference: float32 [B], log-probability of the answer under the model that training began with, or NaN.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    trained: torch.Tensor
    targets: torch.Tensor
    second: torch.Tensor
    reference: torch.Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Self:
        """The same arrays as tensors on ``device``."""
        return cls(
            input_ids=torch.as_tensor(batch.input_ids, dtype=torch.int64, device=device),
            attention_mask=torch.as_tensor(batch.attention_mask, dtype=torch.int64, device=device),
            trained=torch.as_tensor(batch.trained, dtype=torch.bool, device=device),
            targets=torch.as_tensor(batch.targets, dtype=torch.int64, device=device),
            second=torch.as_tensor(batch.second, dtype=torch.int64, device=device),
            reference=torch.as_tensor(batch.reference, dtype=torch.float32, device=device))


@dataclass(frozen=True)
class Loss:
    """A loss summed over what is trained (float32 scalar with its graph, in nats), and how many there were."""

    total: torch.Tensor
    count: int


class Objective(Method):
    """What is to be made small.

    Attributes:
        pooled: whether it is an objective of pooled classifiers, and not of language models.
    """

    family: ClassVar[str] = "objective"
    verb: ClassVar[str] = "loss"
    pooled: ClassVar[bool] = False

    def check(self, model: nn.Module) -> None:
        """Raises: ModelError: if ``model`` is of the other kind than this is an objective of."""
        if isinstance(model, PooledClassifier) != self.pooled:
            kinds = ("a language model", "an encoder with a pooled head")
            raise ModelError(f"'{self.name}' is an objective of {kinds[self.pooled]}, not of {kinds[not self.pooled]}",
                             fix=f"objective: {'sft' if self.pooled else 'classify'}")

    def prepare(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
                meter: Meter | None = None) -> list[Encoded]:
        """``data`` with what the loss needs beside it and nothing else; called once, before the first step.

        An objective of single sequences leaves rejected answers and rationales out.

        Args:
            model: as training will begin with it.
            data: encoded examples.
            pad_id: fills short rows.
            micro_tokens: padded tokens that are computed at once.
            meter: what is charged.

        Raises:
            DataError: if examples lack what the objective learns from.
        """
        return [replace(example, second=None) if example.second else example for example in data]

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        """The loss of a batch, summed over its trained tokens or rows and never averaged."""
        raise NotImplementedError

    def supervised(self, example: Encoded) -> int:
        """How many tokens or rows of this example the loss counts."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes over an example's tokens in a first epoch; those that `prepare` makes are made once a run."""
        return Cost(forward=1, backward=1)
