"""The score of each example."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import nn
from torch.nn import functional as F

from scrimp.checkpoints.heads import Answers, PooledClassifier
from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Losses, Objective, TorchBatch

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Regress"]


class Regress(Objective):
    """Squared error of the score that a pooled head gives each example, in the variance of the scores."""

    pooled: ClassVar[bool] = True
    answers: ClassVar[Answers] = "score"

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        assert isinstance(model, PooledClassifier)
        assert model.scale is not None  # `check` has seen to it
        centre, spread = model.scale
        said = model(batch.input_ids, batch.attention_mask)[:, 0]
        wanted = (batch.wanted[:, 0] - centre) / spread
        known = wanted.isfinite()
        missed = F.mse_loss(said.float(), wanted.nan_to_num().float(), reduction="none")
        return Losses(missed.masked_fill(~known, 0.0), known.long())

    def supervised(self, example: Encoded) -> int:
        return int(example.wanted is not None)


preset("regress", Regress)
