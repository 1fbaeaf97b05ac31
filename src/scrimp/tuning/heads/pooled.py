"""The head of a pooled classifier, fitted anew on what its tuned encoder says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.budget import Meter
from scrimp.core.progress import bar
from scrimp.signals.passes import MICRO_TOKENS, by_length, charge, evaluating, padded
from scrimp.tuning.heads.logistic import regress, standard

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["refit"]

_NEVER = -1e4  # log-odds of a label that no example has


def refit(model: PooledClassifier, data: Sequence[Encoded], *, pad_id: int, micro_tokens: int, seed: int = 0,
          meter: Meter | None = None) -> None:
    """Logistic regression on the pooled states of the examples, each of length one, in place of the head's weights.

    With one class alone the head stays as it is.

    Args:
        model: whose encoder is as it is to be, and whose head is given states of length one (``unit``).
        data: encoded examples; those without a class say nothing.
        pad_id: fills short rows.
        micro_tokens: padded tokens that are computed at once, at most.
        seed: of the choice of the penalty.
        meter: what is charged.
    """
    known = [example for example in data if example.target is not None]
    targets = np.array([example.target for example in known])
    if len(set(targets.tolist())) < 2:
        return
    states = _states(model, known, pad_id=pad_id, tokens=min(micro_tokens, MICRO_TOKENS), meter=meter)
    centre, spread = standard(states)
    classes, weight, bias, _ = regress((states - centre) / spread, targets, seed=seed)
    weight = weight / spread
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(_NEVER)
        model.head.weight[classes] = torch.as_tensor(weight).to(model.head.weight)
        model.head.bias[classes] = torch.as_tensor(bias - weight @ centre).to(model.head.bias)


def _states(model: PooledClassifier, data: Sequence[Encoded], *, pad_id: int, tokens: int,
            meter: Meter | None) -> np.ndarray:
    """Pooled states of length one, float32 [N, D]."""
    found = np.empty((len(data), model.head.in_features), dtype=np.float32)
    with evaluating(model), bar("reading", len(data)) as shown:
        for part in by_length([len(one.ids) for one in data], tokens=tokens):
            ids, real = padded([data[i].ids for i in part], pad_id, left=False, device=model.head.weight.device)
            found[part] = model.embed(ids, real, normalise=True).float().cpu()
            charge(meter, model, int(real.sum()))
            shown.advance(len(part))
    return found
