"""The loss of given texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.core.progress import bar
from scrimp.signals.passes import MICRO_TOKENS, by_length, charge, evaluating, padded, positions_of, rows_for_logits

__all__ = ["token_losses"]


def token_losses(loaded: Any, encoded: Sequence[Any], *, meter: Meter | None = None,
                 micro_tokens: int = MICRO_TOKENS) -> list[tuple[float, int]]:
    """Summed negative log-likelihood, in nats, and count of each row's trained tokens.

    Args:
        loaded: a causal model (``checkpoints.loading.Loaded``).
        encoded: rows with ``ids`` and ``trained`` (``examples.templates.Encoded``). A first token has nothing before it
            that could predict it, and is not counted.
        meter: what is charged.
        micro_tokens: padded tokens of one forward pass.

    Raises:
        ModelError: if a loss is not finite.
    """
    found: list[tuple[float, int]] = [(0.0, 0)] * len(encoded)
    kept = [_judged(row) for row in encoded]
    with evaluating(loaded.model), bar("measuring losses", len(encoded)) as shown:
        rows = rows_for_logits(loaded.model, max(kept, default=1))
        for batch in by_length([len(row.ids) for row in encoded], tokens=micro_tokens, rows=rows):
            ids, real = padded([encoded[i].ids for i in batch], loaded.pad_id, left=True, device=loaded.model.device)
            most = max(kept[i] for i in batch)
            logits = loaded.model(input_ids=ids, attention_mask=real, position_ids=positions_of(real), use_cache=False,
                                  logits_to_keep=most).logits
            for place, i in enumerate(batch):
                found[i] = _row_loss(logits[place, logits.shape[1] - kept[i]:], encoded[i].ids, encoded[i].trained)
            charge(meter, loaded.model, int(real.sum()))
            shown.advance(len(batch))
    if bad := [i for i, (loss, _) in enumerate(found) if not loss < float("inf")]:
        raise ModelError("the model's loss is not finite", where=loaded.checkpoint.name,
                         why=f"on text {bad[0] + 1}: its weights hold NaN or infinity, or overflow in this precision",
                         fix="load it in float32, or use an earlier checkpoint")
    return found


def _judged(row: Any) -> int:
    """How many positions at a row's end the logits are needed of: from before its first counted token on."""
    first = next((at for at in range(1, len(row.ids)) if row.trained[at]), len(row.ids))
    return len(row.ids) - first + 1


def _row_loss(logits: torch.Tensor, ids: Sequence[int], trained: Sequence[bool]) -> tuple[float, int]:
    """From the logits [K, V] at the last K positions of a row."""
    start = len(ids) - len(logits) + 1
    wanted = [at for at in range(start, len(ids)) if trained[at]]
    if not wanted:
        return 0.0, 0
    before = torch.tensor(wanted, device=logits.device) - start
    targets = torch.tensor([ids[at] for at in wanted], device=logits.device)
    return float(cross_entropy(logits[before].float(), targets, reduction="sum")), len(wanted)
