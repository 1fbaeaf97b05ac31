"""The loss on rows that are not trained on: what early stopping and the choice of the best weights go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from scrimp.checkpoints.quantized import weights_in
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.examples.batching import collate, micro_batches
from scrimp.tuning.adapters import compute_dtype
from scrimp.tuning.objectives import Objective, TorchBatch

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["mean_loss"]


def mean_loss(model: nn.Module, data: Sequence[Encoded], *, objective: Objective, pad_id: int, micro_tokens: int,
              meter: Meter | None = None) -> float:
    """Loss a trained token (or row) over all of ``data``, which the objective prepared, in nats, without dropout.

    Raises:
        DataError: if nothing in ``data`` is trained.
    """
    device, dtype = next(model.parameters()).device, compute_dtype(model)
    lengths, was_training = [row.padded for row in data], model.training
    total, count = 0.0, 0
    model.eval()
    try:
        # autocast must not keep weights that were cast without a graph: the next training step would use them
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32,
                                                    cache_enabled=False):
            for part in micro_batches(range(len(data)), lengths, tokens=micro_tokens):
                batch = TorchBatch.of(collate([data[i] for i in part], pad_id=pad_id), device)
                loss = objective.loss(model, batch)
                total, count = total + float(loss.total), count + loss.count
    finally:
        model.train(was_training)
    if not count:
        raise DataError("no token of the validation rows is trained", fix="give rows with answers")
    if meter is not None:
        tokens = sum(row.tokens for row in data)
        meter.charge(tokens_forward=tokens, flops=2.0 * tokens * weights_in(model.parameters()))
    return total / count
