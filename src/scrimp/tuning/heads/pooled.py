"""The head of a pooled classifier, fitted anew on what its tuned encoder says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.quantized import weights_in
from scrimp.core.budget import Meter
from scrimp.examples.batching import collate, micro_batches
from scrimp.tuning.adapters import compute_dtype
from scrimp.tuning.heads.logistic import regress, standard

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["refit"]

_NEVER = -1e4  # log-odds of a label that no example has


def refit(model: PooledClassifier, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int, seed: int = 0,
          meter: Meter | None = None) -> None:
    """Logistic regression on the pooled states of the examples, each of length one, in place of the head.

    With one class alone the head stays as it is.

    Args:
        model: whose encoder is as it is to be.
        data: encoded examples; those without a class say nothing.
        pad_id: fills short rows.
        micro_tokens: padded tokens that are computed at once.
        seed: of the choice of the penalty.
        meter: what is charged.
    """
    known = [example for example in data if example.target is not None]
    targets = np.array([example.target for example in known])
    if len(set(targets.tolist())) < 2:
        return
    states = _states(model, known, pad_id=pad_id, micro_tokens=micro_tokens, meter=meter)
    centre, spread = standard(states)
    classes, weight, bias, _ = regress((states - centre) / spread, targets, seed=seed)
    weight = weight / spread
    model.unit = True
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(_NEVER)
        model.head.weight[classes] = torch.as_tensor(weight).to(model.head.weight)
        model.head.bias[classes] = torch.as_tensor(bias - weight @ centre).to(model.head.bias)


def _states(model: PooledClassifier, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int,
            meter: Meter | None) -> np.ndarray:
    """Pooled states of length one, float32 [N, D]."""
    device, dtype = model.head.weight.device, compute_dtype(model)
    found = np.empty((len(data), model.head.in_features), dtype=np.float32)
    # autocast must not keep weights that were cast without a graph
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32,
                                                cache_enabled=False):
        for part in micro_batches(range(len(data)), [row.padded for row in data], tokens=micro_tokens):
            batch = collate([data[i] for i in part], pad_id=pad_id)
            ids, mask = (torch.as_tensor(given, dtype=torch.int64, device=device)
                         for given in (batch.input_ids, batch.attention_mask))
            found[part] = model.embed(ids, mask, normalise=True).cpu()
    if meter is not None:
        tokens = sum(row.tokens for row in data)
        meter.charge(tokens_forward=tokens, flops=2.0 * tokens * weights_in(model.parameters()))
    return found
