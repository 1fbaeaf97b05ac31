"""A feed-forward language model over bytes, a thousand times smaller than small ones: for grids of many runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build

if TYPE_CHECKING:
    from scrimp.evidence.lab import Lab

__all__ = ["CONTEXT", "Letters", "learned", "loss", "stream"]

CONTEXT = 8  # bytes from which the next one is foretold
_BYTES, _EMBEDDED, _TESTED = 256, 12, 4000


class Letters(nn.Module):
    """The next byte from the eight before it, int64 [B, 8] to logits [B, 256]: two hidden layers.

    Args:
        width: of the hidden layers.
        seed: of the first weights.
    """

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(_BYTES, _EMBEDDED)
            self.layers = nn.Sequential(nn.Linear(CONTEXT * _EMBEDDED, width), nn.ReLU(), nn.Linear(width, width),
                                        nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            self.head = nn.Linear(width, _BYTES)

    def forward(self, before: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embedding(before).flatten(1)))

    @property
    def size(self) -> int:
        """Parameters."""
        return sum(p.numel() for p in self.parameters())


def stream(lab: Lab, part: str) -> np.ndarray:
    """The newsgroup posts of a part as one row of bytes, uint8."""
    return np.frombuffer("\n".join(lab.texts(part=part)).encode(), np.uint8)


def learned(lab: Lab, model: Letters, text: np.ndarray, *, steps: int, batch: int = 64, optimizer: str = "adamw",
            schedule: str = "constant", schedule_options: Mapping[str, Any] | None = None,
            look: Callable[[int], None] | None = None, **options: Any) -> Letters:
    """Train a model in place on places of ``text`` that are drawn by the lab's generator.

    Args:
        text: uint8; what comes after each place is foretold from what comes before it.
        steps: updates.
        batch: places of an update.
        optimizer, schedule: by name, with options; the rest are those of the optimizer.
        look: called after each update with its number, from 1.
    """
    moving = build("optimizer", optimizer, options).build(model.named_parameters(), steps)
    rates = build("schedule", schedule, schedule_options)
    peaks = [group["lr"] for group in moving.param_groups]
    for step in range(steps):
        for group, peak in zip(moving.param_groups, peaks, strict=True):
            group["lr"] = peak * rates.factor(step, steps)
        before, after = _places(text, lab.rng.integers(0, len(text) - CONTEXT, batch))
        moving.zero_grad()
        nn.functional.cross_entropy(model(before), after).backward()
        moving.step()
        if look:
            look(step + 1)
    lab.spent(forward=steps * batch, backward=steps * batch)
    return model


def loss(model: Letters, text: np.ndarray) -> float:
    """Nats a byte at places of ``text`` that are the same for all models."""
    starts = np.random.default_rng(0).integers(0, len(text) - CONTEXT, _TESTED)
    with torch.inference_mode():
        before, after = _places(text, starts)
        return float(nn.functional.cross_entropy(model(before), after))


def _places(text: np.ndarray, starts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.from_numpy(text[starts[:, None] + np.arange(CONTEXT + 1)].astype(np.int64))
    return drawn[:, :CONTEXT], drawn[:, CONTEXT]
