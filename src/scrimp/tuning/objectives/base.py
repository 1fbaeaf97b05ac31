"""The family of objectives: a summed loss with its count, so that micro-batches add up exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import nn

from scrimp.checkpoints.heads import Answers, PooledClassifier
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import Cost, Method

if TYPE_CHECKING:
    from scrimp.core.budget import Meter
    from scrimp.examples.batching import Batch
    from scrimp.examples.templates import Encoded

__all__ = ["Loss", "Losses", "Objective", "TorchBatch"]


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
        wanted: float64 [B, K], what a head is to say of each row, or NaN; K is 0 where of none is anything wanted.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    trained: torch.Tensor
    targets: torch.Tensor
    second: torch.Tensor
    reference: torch.Tensor
    wanted: torch.Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Self:
        """The same arrays as tensors on ``device``."""
        return cls(
            input_ids=torch.as_tensor(batch.input_ids, dtype=torch.int64, device=device),
            attention_mask=torch.as_tensor(batch.attention_mask, dtype=torch.int64, device=device),
            trained=torch.as_tensor(batch.trained, dtype=torch.bool, device=device),
            targets=torch.as_tensor(batch.targets, dtype=torch.int64, device=device),
            second=torch.as_tensor(batch.second, dtype=torch.int64, device=device),
            reference=torch.as_tensor(batch.reference, dtype=torch.float32, device=device),
            wanted=torch.as_tensor(batch.wanted, dtype=torch.float64, device=device))


@dataclass(frozen=True)
class Loss:
    """A loss summed over what is trained.

    Attributes:
        total: float32 scalar with its graph, in nats.
        count: how many trained tokens (or rows) there were.
        mass: by what a step's total is divided, where its rows have weights; else the count.
    """

    total: torch.Tensor
    count: int
    mass: float | None = None

    @property
    def divisor(self) -> float:
        """What the sum of a step is divided by."""
        return self.count if self.mass is None else self.mass


@dataclass(frozen=True)
class Losses:
    """The loss of each row of a batch, without what belongs to rows.

    Attributes:
        sums: float32 [B] with their graph, in nats, over what is trained of a row.
        counts: int64 [B], how many trained tokens (or rows) these are.
    """

    sums: torch.Tensor
    counts: torch.Tensor

    @property
    def means(self) -> torch.Tensor:
        """float32 [B], in nats a trained token (or row), without their graph."""
        return self.sums.detach() / self.counts.clamp(min=1)

    def summed(self) -> Loss:
        """All rows as one."""
        return Loss(self.sums.sum(), int(self.counts.sum()))


_OF_HEADS: dict[Answers, tuple[str, str]] = {
    "label": ("classify", "one label"), "labels": ("classify-each", "several labels"), "score": ("regress", "a score")}


def pooled_answers(model: nn.Module) -> Answers:
    """What the model's pooled head says."""
    return model.answers if isinstance(model, PooledClassifier) else "label"


class Objective(Method):
    """What is to be made small.

    Attributes:
        pooled: whether it is an objective of encoders with a pooled head, and not of language models.
        answers: of pooled heads that say this.
        joint: whether the rows of a step are compared with each other, so that they must be computed at once.
    """

    family: ClassVar[str] = "objective"
    verb: ClassVar[str] = "loss"
    pooled: ClassVar[bool] = False
    answers: ClassVar[Answers] = "label"
    joint: ClassVar[bool] = False

    @property
    def by_row(self) -> bool:
        """Whether it tells the loss of each row."""
        return type(self).losses is not Objective.losses

    def check(self, model: nn.Module) -> None:
        """Raises: ModelError: if ``model`` is of the other kind than this is an objective of."""
        fitting, wanted = _OF_HEADS[pooled_answers(model)]
        if isinstance(model, PooledClassifier) != self.pooled:
            kinds = ("a language model", "an encoder with a pooled head")
            raise ModelError(f"'{self.name}' is an objective of {kinds[self.pooled]}, not of {kinds[not self.pooled]}",
                             fix=f"objective: {'sft' if self.pooled else fitting}")
        if self.pooled and pooled_answers(model) != self.answers:
            raise ModelError(f"'{self.name}' is an objective of {_OF_HEADS[self.answers][1]}, not of {wanted}",
                             fix=f"objective: {fitting}")

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
        return self.losses(model, batch).summed()

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        """The loss of each row, whose sum is `loss`.

        Raises:
            OptionError: the objective tells no row from another.
        """
        raise OptionError(f"'{self.name}' does not tell the loss of each example", where="objective",
                          why="the sampling or the weighting goes by it",
                          fix="choose another objective, or sampling: shuffle and weighting: uniform")

    def plain(self, model: nn.Module, batch: TorchBatch) -> float | None:
        """The summed loss of a batch by the textbook's formula and the model's own logits, which a guard compares with
        `loss`; None where the objective has no such form.
        """
        return None

    def supervised(self, example: Encoded) -> int:
        """How many tokens or rows of this example the loss counts."""
        raise NotImplementedError

    def conclude(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
                 meter: Meter | None = None) -> None:
        """What is done once when training is over, in the best weights that it found: nothing, as a rule.

        The arguments are those of `prepare`, whose examples these are.
        """

    def cost(self) -> Cost:
        """Passes over an example's tokens in a first epoch; those that `prepare` makes are made once a run."""
        return Cost(forward=1, backward=1)
