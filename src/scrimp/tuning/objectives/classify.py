"""The class of each example."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Losses, Objective, TorchBatch

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Classify"]


class Classify(Objective):
    """Cross-entropy of the class that a pooled classifier gives each example.

    Attributes:
        label_smoothing: share of the target that is spread evenly over all classes. Szegedy et al. 2016, "Rethinking
            the Inception Architecture for Computer Vision".
    """

    pooled: ClassVar[bool] = True

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        logits = model(batch.input_ids, batch.attention_mask).float()
        sums = F.cross_entropy(logits, batch.targets, reduction="none", ignore_index=-1,
                               label_smoothing=self.label_smoothing)
        return Losses(sums, (batch.targets >= 0).long())

    def supervised(self, example: Encoded) -> int:
        return int(example.target is not None)


preset("classify", Classify)
