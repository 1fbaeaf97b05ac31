"""How likely a model finds each token, and how likely it found the tokens that could have stood there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.core.progress import bar
from scrimp.signals.passes import by_length, charge, evaluating, padded, rows_for_logits

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["TokenLosses", "losses"]


@dataclass(frozen=True)
class TokenLosses:
    """Of one row, for each of its T trained tokens, in order; all float32 [T], in nats.

    Attributes:
        log_probability: of the token.
        expected: the mean log-probability of a token drawn from the model there, the negative of the entropy.
        spread: the standard deviation of that.
    """

    log_probability: np.ndarray
    expected: np.ndarray
    spread: np.ndarray


def losses(model: Any, encoded: Sequence[Encoded], *, meter: Meter | None = None) -> list[TokenLosses]:
    """Of each row, in one forward pass over it.

    Args:
        model: a causal model.
        encoded: rows; only tokens marked as trained are told of.
        meter: what is charged.

    Raises:
        ModelError: if the model predicts no tokens, or a log-probability is not finite.
    """
    found: dict[int, TokenLosses] = {}
    lengths = [len(row.ids) for row in encoded]
    with evaluating(model), bar("measuring losses", len(encoded)) as shown:
        device = next(model.parameters()).device
        for batch in by_length(lengths, rows=rows_for_logits(model, max(lengths, default=1))):
            ids, real = padded([encoded[i].ids for i in batch], 0, left=False, device=device)
            logits = _logits(model(input_ids=ids, attention_mask=real, use_cache=False), model)
            found |= {i: _of_row(logits[place], encoded[i]) for place, i in enumerate(batch)}
            charge(meter, model, int(real.sum()))
            shown.advance(len(batch))
    if bad := [i for i, row in found.items() if not np.isfinite(row.log_probability).all()]:
        raise ModelError("the model's log-probabilities are not finite", where=f"row {encoded[min(bad)].row}",
                         why="its weights hold NaN or infinity, or overflow in this precision",
                         fix="load it in float32")
    return [found[i] for i in range(len(encoded))]


def _logits(output: Any, model: Any) -> torch.Tensor:
    if not hasattr(output, "logits"):
        raise ModelError("this model predicts no tokens", where=type(model).__name__, fix="give a causal model")
    return output.logits


def _of_row(logits: torch.Tensor, row: Encoded) -> TokenLosses:
    """From logits [L, V] at all positions; those before the first token and of padding are not used."""
    wanted = torch.tensor([at for at in range(1, len(row.ids)) if row.trained[at]], dtype=torch.long)
    targets = torch.tensor(row.ids)[wanted].to(logits.device)
    scores = logits[(wanted - 1).to(logits.device)].float().log_softmax(dim=-1)
    chances = scores.exp()
    expected = (chances * scores).sum(dim=-1)
    spread = (chances * (scores - expected[:, None]).square()).sum(dim=-1).sqrt()
    taken = scores.gather(1, targets[:, None])[:, 0]
    return TokenLosses(*(part.cpu().numpy() for part in (taken, expected, spread)))
