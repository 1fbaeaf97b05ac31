"""The class of each example, and rows of a class brought together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.registry import preset
from scrimp.examples.batching import micro_batches
from scrimp.tuning.heads.pooled import refit
from scrimp.tuning.objectives.base import Loss, Losses, Objective, TorchBatch

if TYPE_CHECKING:
    from scrimp.core.budget import Meter
    from scrimp.examples.templates import Encoded

__all__ = ["Classify", "Contrastive", "supervised_contrast"]


_TOGETHER = 1024  # padded tokens that pass an encoder at once
_NOTHING = -1e30  # as a logarithm; infinity would make gradients that are no numbers where a row has no other


class Classify(Objective):
    """Cross-entropy of the class that a pooled classifier gives each example.

    Attributes:
        label_smoothing: share of the target that is spread evenly over all classes. Szegedy et al. 2016, "Rethinking
            the Inception Architecture for Computer Vision".
    """

    pooled: ClassVar[bool] = True

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        return Losses(self._crossed(model(batch.input_ids, batch.attention_mask), batch), (batch.targets >= 0).long())

    def _crossed(self, logits: torch.Tensor, batch: TorchBatch) -> torch.Tensor:
        """Cross-entropy of each row, float32 [B]; 0 without a class."""
        return F.cross_entropy(logits.float(), batch.targets, reduction="none", ignore_index=-1,
                               label_smoothing=self.label_smoothing)

    def supervised(self, example: Encoded) -> int:
        return int(example.target is not None)


class Contrastive(Classify):
    """Cross-entropy of the class, and beside it rows of one class brought together and of others kept apart.

    ``(1 - contrast) CE_i - contrast / |P_i| sum over p in P_i of log(exp(z_i . z_p / t) / sum over a != i of
    exp(z_i . z_a / t))``, with pooled states z of length one and the other rows P_i of the step that have i's class; a
    row without any has no second term. Gunel et al. 2021, "Supervised Contrastive Learning for Pre-trained Language
    Model Fine-tuning"; the second term is that of Khosla et al. 2020, "Supervised Contrastive Learning". When training
    is over, the head is fitted anew to the states that it led to, by logistic regression, as Tunstall et al. 2022,
    "Efficient Few-Shot Learning Without Prompts".

    Attributes:
        contrast: weight of the second term; the first has the rest.
        contrast_temperature: t.
    """

    joint: ClassVar[bool] = True

    contrast: float = Field(default=0.9, ge=0, lt=1)
    contrast_temperature: float = Field(default=0.3, gt=0)

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        assert isinstance(model, PooledClassifier)  # `check` has seen to it
        pooled = _embedded(model, batch)
        crossed = self._crossed(model.logits(pooled), batch)
        with torch.autocast(pooled.device.type, enabled=False):
            apart = supervised_contrast(pooled.float(), batch.targets, self.contrast_temperature)
        return Loss(((1 - self.contrast) * crossed + self.contrast * apart).sum(), int((batch.targets >= 0).sum()))

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        return Objective.losses(self, model, batch)  # a row's loss is that of its step

    def prepare(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
                meter: Meter | None = None) -> list[Encoded]:
        """The data as they are; from here on the head is given what is compared, states of length one."""
        assert isinstance(model, PooledClassifier)
        model.unit = True
        return super().prepare(model, data, pad_id=pad_id, micro_tokens=micro_tokens, meter=meter)

    def conclude(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
                 meter: Meter | None = None) -> None:
        assert isinstance(model, PooledClassifier)
        refit(model, data, pad_id=pad_id, micro_tokens=micro_tokens, meter=meter)


def _embedded(model: PooledClassifier, batch: TorchBatch) -> torch.Tensor:
    """Pooled states, float32 [B, D]; rows of like length pass the encoder together, so that few pad tokens do."""
    lengths = batch.attention_mask.sum(dim=1).tolist()
    parts = micro_batches(range(len(lengths)), lengths, tokens=_TOGETHER)
    states = [model.embed(batch.input_ids[part, :lengths[part[0]]], batch.attention_mask[part, :lengths[part[0]]])
              for part in parts]
    order = torch.tensor([row for part in parts for row in part], device=states[0].device)
    return torch.cat(states)[order.argsort()]


def supervised_contrast(states: torch.Tensor, classes: torch.Tensor, temperature: float) -> torch.Tensor:
    """Of each row the mean negative log-probability of the others of its class among all others, float32 [B].

    Args:
        states: [B, D], of any length.
        classes: int64 [B]; a row of class -1 has no loss and is nobody's other.
        temperature: what cosines are divided by.
    """
    directions = F.normalize(states, dim=-1)
    cosines = directions @ directions.T / temperature
    known, itself = classes >= 0, torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    others = cosines.masked_fill(itself | ~known, _NOTHING).logsumexp(dim=1, keepdim=True)
    alike = (classes[:, None] == classes) & known & ~itself
    return ((others - cosines) * alike).sum(dim=1) / alike.sum(dim=1).clamp(min=1)


preset("classify", Classify)
preset("contrastive", Contrastive)
