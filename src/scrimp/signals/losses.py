"""How likely a model finds each token, and how likely it found the tokens that could have stood there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.examples.sequences import Viewed
from scrimp.signals.answers import Answers
from scrimp.signals.passes import Found, Pass, by_length, evaluating, forward_of, padded, rows_for_logits, run

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["LossPass", "TokenLosses", "losses", "told"]


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


def losses(model: Any, encoded: Sequence[Encoded], *, meter: Meter | None = None) -> Sequence[TokenLosses]:
    """Of each row, in one forward pass over it; see `LossPass`."""
    return told(run(LossPass(model), encoded, meter=meter))


def told(answers: Answers) -> Sequence[TokenLosses]:
    """What a `LossPass` found, by row."""
    return Viewed(answers, lambda lines: TokenLosses(*lines.T))


@dataclass(frozen=True)
class LossPass(Pass["Encoded"]):
    """A line for each trained token of a row: what `TokenLosses` tells of it.

    Attributes:
        model: a causal model.
    """

    model: Any
    kind = "losses"
    said = "measuring losses"

    @property
    def width(self) -> int:
        return 3

    def content(self, row: Encoded) -> Any:
        return [row.ids, row.trained]

    def lines(self, row: Encoded) -> int:
        return sum(row.trained[1:])

    def lengths(self, rows: Sequence[Encoded]) -> list[int]:
        return [len(row.ids) for row in rows]

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        return by_length(lengths, rows=rows_for_logits(self.model, max(lengths, default=1)))

    @contextmanager
    def opened(self) -> Iterator[Callable[[Sequence[Encoded]], Found]]:
        """Raises: ModelError: if the model predicts no tokens, or a log-probability is not finite."""
        device = next(self.model.parameters()).device

        def found(rows: Sequence[Encoded]) -> Found:
            ids, real = padded([row.ids for row in rows], 0, left=False, device=device)
            logits = _logits(self.model(input_ids=ids, attention_mask=real, use_cache=False), self.model)
            values = [_of_row(logits[place], row) for place, row in enumerate(rows)]
            if bad := [row.row for row, one in zip(rows, values, strict=True) if not np.isfinite(one).all()]:
                raise ModelError("the model's log-probabilities are not finite", where=f"row {min(bad)}",
                                 why="its weights hold NaN or infinity, or overflow in this precision",
                                 fix="load it in float32")
            return forward_of(self.model, int(real.sum()), np.concatenate(values))

        with evaluating(self.model):
            yield found


def _logits(output: Any, model: Any) -> torch.Tensor:
    if not hasattr(output, "logits"):
        raise ModelError("this model predicts no tokens", where=type(model).__name__, fix="give a causal model")
    return output.logits


def _of_row(logits: torch.Tensor, row: Encoded) -> np.ndarray:
    """[T, 3] from logits [L, V] at all positions; those before the first token and of padding are not used."""
    wanted = torch.tensor([at for at in range(1, len(row.ids)) if row.trained[at]], dtype=torch.long)
    targets = torch.tensor(row.ids)[wanted].to(logits.device)
    scores = logits[(wanted - 1).to(logits.device)].float().log_softmax(dim=-1)
    chances = scores.exp()
    expected = (chances * scores).sum(dim=-1)
    spread = (chances * (scores - expected[:, None]).square()).sum(dim=-1).sqrt()
    taken = scores.gather(1, targets[:, None])[:, 0]
    return torch.stack([taken, expected, spread], dim=1).cpu().numpy()
