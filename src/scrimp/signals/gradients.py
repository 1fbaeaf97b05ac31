"""Where each example would move a model: the length of its gradient, and a shadow of its direction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.core.progress import bar

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Gradients", "gradients"]

_BLOCK = 1 << 16  # parameters that are projected at once


@dataclass(frozen=True)
class Gradients:
    """Of N rows.

    Attributes:
        norms: float32 [N], in nats a token and unit of weight.
        projected: float32 [N, W]; inner products of rows are those of the gradients, up to chance.
    """

    norms: np.ndarray
    projected: np.ndarray


def gradients(model: Any, encoded: Sequence[Encoded], *, parameters: str = ".*", width: int = 256, seed: int = 0,
              meter: Meter | None = None) -> Gradients:
    """The gradient of each row's mean loss over its trained tokens, one row after the other.

    It is projected by random signs, as in Johnson and Lindenstrauss 1984, "Extensions of Lipschitz mappings into a
    Hilbert space"; the same seed gives the same projection for every set of rows.

    Args:
        model: a causal model; in evaluation mode, and left as it is.
        encoded: rows with a trained token each.
        parameters: a pattern for the names of the parameters that count.
        width: numbers that are kept of each gradient.
        seed: of the projection.
        meter: what is charged.

    Raises:
        ModelError: no parameter has such a name; a row without a trained token; a gradient that is not finite.
    """
    chosen = [value for name, value in model.named_parameters() if re.fullmatch(parameters, name)]
    if not chosen:
        raise ModelError(f"no parameter's name matches '{parameters}'")
    moving, training = [value.requires_grad for value in model.parameters()], model.training
    norms, kept = np.zeros(len(encoded), np.float32), np.zeros((len(encoded), width), np.float32)
    model.eval().requires_grad_(False)
    try:
        for value in chosen:
            value.requires_grad_(True)
        with bar("measuring gradients", len(encoded)) as shown:
            for i, row in enumerate(encoded):
                gradient = torch.autograd.grad(_mean_loss(model, row), chosen)
                flat = torch.cat([part.reshape(-1).float() for part in gradient])
                norms[i], kept[i] = float(flat.norm()), _projected(flat, width, seed).cpu().numpy()
                _charge(meter, model, len(row.ids))
                shown.advance(1)
    finally:
        for value, moved in zip(model.parameters(), moving, strict=True):
            value.requires_grad_(moved)
        model.train(training)
    if not np.isfinite(norms).all():
        raise ModelError("a gradient is not finite", where=f"row {encoded[int(np.argmin(np.isfinite(norms)))].row}",
                         why="the weights hold NaN or infinity, or overflow in this precision")
    return Gradients(norms, kept)


def _charge(meter: Meter | None, model: Any, tokens: int) -> None:
    """A forward and a backward pass: about six operations a weight and token."""
    if meter is not None:
        weights = sum(p.numel() for p in model.parameters())
        meter.charge(tokens_forward=tokens, tokens_backward=tokens, flops=6.0 * weights * tokens)


def _mean_loss(model: Any, row: Encoded) -> torch.Tensor:
    device = next(model.parameters()).device
    ids, trained = torch.tensor(row.ids, device=device), torch.tensor(row.trained, device=device)[1:]
    if not bool(trained.any()):
        raise ModelError("the row has no trained token, so no gradient", where=f"row {row.row}")
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    return F.cross_entropy(logits[trained].float(), ids[1:][trained])


def _projected(flat: torch.Tensor, width: int, seed: int) -> torch.Tensor:
    """``flat`` [P] times random signs [P, W] over the root of W, a block of the signs at a time."""
    draw, found = torch.Generator().manual_seed(seed), torch.zeros(width, device=flat.device)
    for block in flat.split(max(1, _BLOCK // width)):
        signs = torch.randint(0, 2, (len(block), width), generator=draw, dtype=torch.int8).to(flat.device).float()
        found += block @ (2 * signs - 1)
    return found / width**0.5
