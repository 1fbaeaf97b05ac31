"""The reasons beside the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import nn

from scrimp.core.errors import DataError
from scrimp.core.registry import preset
from scrimp.tuning.objectives.base import Losses, TorchBatch
from scrimp.tuning.objectives.tokens import TokenObjective

if TYPE_CHECKING:
    from scrimp.core.budget import Meter
    from scrimp.examples.templates import Encoded

__all__ = ["RationaleDistillation"]


class RationaleDistillation(TokenObjective):
    """Learn to answer and, as a second task with a prompt of its own, to explain; asked is only the first.

    ``L(prompt -> completion) + rationale_weight L(prompt that asks to explain -> rationale)``, each a mean
    cross-entropy a token, averaged over the rows. The paper marks both tasks; here the first is asked as it will be
    served, and only the second has a mark.

    Hsieh et al. 2023, "Distilling Step-by-Step! Outperforming Larger Language Models with Less Training Data and
    Smaller Model Sizes".

    Attributes:
        rationale_weight: of the rationale's loss.
        chunk: predicted tokens whose logits are held at once.
    """

    rationale_weight: float = Field(default=1.0, ge=0)

    def prepare(self, model: nn.Module, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
                meter: Meter | None = None) -> list[Encoded]:
        if bare := [example.row for example in data if example.second is None]:
            raise DataError(f"{len(bare)} of {len(data)} rows have no rationale", where=f"row {bare[0] + 1}",
                            fix="give rows with prompt, completion and rationale")
        return list(data)

    def losses(self, model: nn.Module, batch: TorchBatch) -> Losses:
        losses, rows = self.token_losses(model, batch)
        tokens = torch.bincount(rows, minlength=len(batch.input_ids))
        shares = torch.where(batch.second >= 0, self.rationale_weight, 1.0) / tokens.clamp(min=1)
        count = int((batch.second < 0).sum())
        owners = torch.where(batch.second >= 0, batch.second, torch.arange(len(tokens), device=tokens.device))
        return Losses(losses.new_zeros(count).index_add(0, owners[rows], losses * shares[rows]), tokens.new_ones(count))

    def supervised(self, example: Encoded) -> int:
        return int(any(example.trained[1:]))


preset("rationale", RationaleDistillation, papers=(31,))
