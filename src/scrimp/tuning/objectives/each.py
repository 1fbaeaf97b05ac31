"""Each label of each example, where an example has any number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn
from torch.nn import functional as F

from scrimp.checkpoints.heads import Answers
from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Losses, Objective, TorchBatch

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["ClassifyEach"]


class ClassifyEach(Objective):
    """Binary cross-entropy of each label that a pooled head gives each example, summed over labels."""

    pooled: ClassVar[bool] = True
    answers: ClassVar[Answers] = "labels"

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        said = model(batch.input_ids, batch.attention_mask).float()
        known = batch.wanted.isfinite()
        missed = F.binary_cross_entropy_with_logits(said, batch.wanted.nan_to_num().float(), reduction="none")
        return Losses(missed.masked_fill(~known, 0.0).sum(dim=1), known.any(dim=1).long())

    def supervised(self, example: Encoded) -> int:
        return int(example.wanted is not None)


preset("classify-each", ClassifyEach)
