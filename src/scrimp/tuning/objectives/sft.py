"""The next token, where it is trained."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Loss, Losses, TorchBatch
from scrimp.tuning.objectives.tokens import TokenObjective, full_logits

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

    def plain(self, model: nn.Module, batch: TorchBatch) -> float | None:
        logits = full_logits(model, batch)[:, :-1].float()
        learned = batch.input_ids[:, 1:].masked_fill(~batch.trained[:, 1:], -100)
        return float(F.cross_entropy(logits.flatten(0, 1), learned.flatten(), ignore_index=-100, reduction="sum"))


preset("sft", SFT)
