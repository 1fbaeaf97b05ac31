"""The class of each example."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Loss, Objective, TorchBatch

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

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        labelled = batch.targets >= 0
        logits = model(batch.input_ids, batch.attention_mask).float()[labelled]
        total = F.cross_entropy(logits, batch.targets[labelled], reduction="sum", label_smoothing=self.label_smoothing)
        return Loss(total, len(logits))

    def supervised(self, example: Encoded) -> int:
        return int(example.target is not None)


preset("classify", Classify)
