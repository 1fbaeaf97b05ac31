"""Whether a model trains on the fast path: if its family is known, and it is found to give the same states there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from scrimp.compute.decoder import packed
from scrimp.core.budget import Meter
from scrimp.examples.batching import collate
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import compute_dtype
from scrimp.tuning.objectives import TorchBatch
from scrimp.tuning.objectives.tokens import decoder_and_head, has_virtual_tokens, states_at
from scrimp.tuning.work import Work

__all__ = ["fast_path"]

_PROBED, _PROBED_TOKENS = 3, 144  # rows, and tokens of each: more than one block of queries
_AGREED: WeakKeyDictionary[nn.Module, tuple[Any, ...]] = WeakKeyDictionary()  # in what precision, of what modules
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # of the states' length


@contextmanager
def fast_path(model: nn.Module, data: Sequence[Encoded], *, pad_id: int, wanted: bool | None,
              meter: Meter | None = None) -> Iterator[str | None]:
    """Puts the decoder in ``model`` on the fast path within the block; gives the reason why not, if it is not.

    The first rows' states are computed both ways: where they differ by more than rounding, the usual path is kept. A
    body that agreed once, and is made of the same modules in the same precision, is not asked again.

    Args:
        model: with an adapter attached.
        data: what it will be trained on.
        pad_id: fills short rows.
        wanted: whether it is to be put there; None for only where it was measured.
        meter: what the comparison is charged to.
    """
    if (reason := _why_not(model, wanted)) is not None:
        yield reason
        return
    body, _ = decoder_and_head(model)
    made_of = (compute_dtype(model), *map(id, body.modules()))
    usual = _states(model, body, data, pad_id, meter) if _AGREED.get(body) != made_of else None
    with packed(body) as reason:
        if reason is None and usual is not None:
            ours = _states(model, body, data, pad_id, meter)
            reason = _difference(usual, ours, _TOLERANCE[compute_dtype(model)])
        if reason is None:
            _AGREED[body] = made_of
            yield None
            return
    yield reason


def _why_not(model: Any, wanted: bool | None) -> str | None:
    if wanted is False:
        return "it was not wanted"
    if not hasattr(model, "get_decoder"):
        return "this is not a language model with a decoder"
    if wanted is None and (kind := next(model.parameters()).device.type) != "cpu":
        return f"it was not measured on {kind}; 'fast: true' takes it there"
    return "an adapter puts tokens of its own before the text" if has_virtual_tokens(model) else None


def _states(model: nn.Module, body: nn.Module, data: Sequence[Encoded], pad_id: int,
            meter: Meter | None) -> torch.Tensor:
    beginnings = [Encoded(row.ids[:_PROBED_TOKENS], row.trained[:_PROBED_TOKENS]) for row in data[:_PROBED]]
    device = next(model.parameters()).device
    batch = TorchBatch.of(collate(beginnings, pad_id=pad_id), device)
    rows, positions = batch.attention_mask.nonzero(as_tuple=True)
    if meter is not None:
        meter.charge(tokens_forward=len(rows), flops=Work.of(model).forward_flops(len(rows), 0))
    dtype, training = compute_dtype(model), model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16,
                                             cache_enabled=False):
            return states_at(body, batch, rows, positions).float()
    finally:
        model.train(training)


def _difference(usual: torch.Tensor, ours: torch.Tensor, tolerance: float) -> str | None:
    """In words, if states are further apart than rounding brings them."""
    apart = float((ours - usual).norm() / usual.norm())
    return None if apart <= tolerance else f"its states are {apart:.2g} of their length apart from the usual ones"
