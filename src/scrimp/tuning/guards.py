"""Guards of a training run: each finds a way in which the result would be silently wrong."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from scrimp.core.errors import GuardError

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded
    from scrimp.tuning.objectives import Objective
    from scrimp.tuning.stream import Stream

__all__ = ["MAX_REWINDS", "DeadGradient", "check_accumulation", "fault", "untrained"]

MAX_REWINDS = 3
_WINDOW = 32  # losses that a spike is judged by
_ENOUGH = 5
_FACTOR = 3.0
_FLOOR = 1.0  # nats: below this a mean loss jumps about by nature


class DeadGradient:
    """After the first steps in which it could move, every tensor that should must have had a gradient.

    A single step proves nothing: one of LoRA's two matrices is zero at the start, so that the other has no gradient
    until it has moved. Steps in which an optimizer holds a tensor still (it requires no gradient) do not count.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], steps: int = 3) -> None:
        self._silent, self._left = dict(parameters), dict.fromkeys(parameters, steps)

    def look(self, name: str) -> None:
        """Look at the gradient that a tensor has now: it may be gone when the step is over."""
        if name in self._silent and (gradient := self._silent[name].grad) is not None and bool(gradient.any()):
            del self._silent[name]

    def see(self) -> None:
        """Look at the gradients that one more step has left.

        Raises:
            GuardError: after the last of its steps, naming the tensors that never had one.
        """
        if not self._silent:
            return
        free = [name for name, p in self._silent.items() if p.requires_grad]
        for name in free:
            self._left[name] -= 1
            self.look(name)
        if names := sorted(name for name in self._silent if self._left[name] == 0):
            raise GuardError(f"{len(names)} of the tensors to be trained never have a gradient",
                             where=", ".join(names[:5]) + (" ..." if len(names) > 5 else ""),
                             why="the loss does not depend on them, or something cuts the graph on the way",
                             fix="leave them out of the adapter's targets")


def fault(loss: float, gradient_norm: float, losses: Sequence[float]) -> str | None:
    """What is wrong with a step, or None.

    Args:
        loss: the step's loss, in nats a token or row.
        gradient_norm: of its gradient.
        losses: of the good steps before, oldest first.

    Returns:
        A reason if either number is not finite, or if the loss is three times the running median, the level of the
        run's first steps and one nat.
    """
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(gradient_norm):
        return f"the gradient's norm is {gradient_norm}"
    if len(losses) < _ENOUGH:
        return None
    usual = max(statistics.median(losses[-_WINDOW:]), statistics.median(losses[:_ENOUGH]), _FLOOR)
    return f"the loss leapt to {loss:.3g} from {usual:.3g}" if loss > _FACTOR * usual else None


def untrained(data: Sequence[Encoded], objective: Objective) -> list[int]:
    """Positions of the examples of which nothing would be trained.

    Raises:
        GuardError: if that is all of them.
    """
    silent = [i for i, example in enumerate(data) if not objective.supervised(example)]
    if len(silent) == len(data):
        raise GuardError("nothing would be trained", why=f"no example of {len(data)} has a trained token or label",
                         fix="see what is trained with: scrimp inspect")
    return silent


def check_accumulation(model: nn.Module, stream: Stream, objective: Objective, *, tokens: int,
                       tolerance: float = 1e-4) -> float:
    """Compare the first step's gradient in one batch and in micro-batches of ``tokens`` padded tokens.

    Dropout is off for it, and no weight or gradient is changed.

    Returns:
        The norm of the difference over the norm of the gradient; rounding alone gives about 1e-6 in float32.

    Raises:
        GuardError: if that is more than ``tolerance``: the objective's sum depends on how a step is cut.
    """
    training = model.training
    model.eval()
    try:
        whole = _gradient(model, stream, objective, sum(stream.lengths) * len(stream.lengths))
        parts = _gradient(model, stream, objective, tokens)
    finally:
        model.train(training)
    difference = float((whole - parts).norm() / whole.norm())
    if not difference <= tolerance:
        raise GuardError(f"accumulation changes the gradient by {difference:.2g} of its norm",
                         why="the objective's loss is not a sum over tokens or rows",
                         fix="return the summed loss and its count from the objective")
    return difference


def _gradient(model: nn.Module, stream: Stream, objective: Objective, tokens: int) -> torch.Tensor:
    from scrimp.tuning.adapters import trainable
    from scrimp.tuning.objectives import TorchBatch

    moving = list(trainable(model).values())
    total, count = [torch.zeros_like(p) for p in moving], 0
    for _, batch in stream.batches(stream.indices(0), tokens):
        loss = objective.loss(model, TorchBatch.of(batch, moving[0].device))
        gradients: Iterable[torch.Tensor | None] = torch.autograd.grad(loss.total, moving, allow_unused=True)
        total = [t if g is None else t + g for t, g in zip(total, gradients, strict=True)]
        count += loss.count
    return torch.cat([t.flatten() for t in total]) / count
