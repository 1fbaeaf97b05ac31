"""The next token, where it is trained."""

from __future__ import annotations

import torch
from torch import nn

from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Loss, Losses, TorchBatch
from scrimp.tuning.objectives.tokens import TokenObjective

__all__ = ["SFT"]


class SFT(TokenObjective):
    """Cross-entropy of the next token, in float32, over the trained tokens and no others.

    ``sum_t -log p(token_t | tokens before)`` over the answers' tokens. Of a preference pair it is the chosen answer
    that is learned, of a completion with a rationale the completion.

    Attributes:
        chunk: predicted tokens whose logits are held at once.
    """

    def loss(self, model: nn.Module, batch: TorchBatch) -> Loss:
        losses, rows = self.token_losses(model, batch, summed=True)
        return Loss(losses.sum(), len(rows))

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        losses, rows = self.token_losses(model, batch)
        count = len(batch.input_ids)
        return Losses(losses.new_zeros(count).index_add(0, rows, losses), torch.bincount(rows, minlength=count))


preset("sft", SFT)
