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
    from scrimp.tuning.sampling import Feed
    from scrimp.tuning.stream import Stream

__all__ = ["MAX_REWINDS", "DeadGradient", "Frozen", "Unmoved", "check_accumulation", "check_put_back", "check_seed",
           "fault", "untrained"]

MAX_REWINDS = 3
_WINDOW = 32  # losses that a spike is judged by
_ENOUGH = 5
_FACTOR = 3.0
_FLOOR = 1.0  # nats: below this a mean loss jumps about by nature
_DEALT = 10  # rows whose order is the same under two seeds once in three million times


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


class Frozen:
    """What is frozen stays what it is: of each tensor some numbers, from its beginning to its end, are remembered.

    Args:
        tensors: those that are not to move.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = dict(tensors)
        self._before = {name: _some(tensor) for name, tensor in self._tensors.items()}

    def check(self) -> None:
        """Raises: GuardError: one of them has moved."""
        if moved := [name for name, was in self._before.items() if not torch.equal(_some(self._tensors[name]), was)]:
            raise GuardError(f"{len(moved)} tensors have moved that are frozen", where=", ".join(moved[:3]),
                             why="what is saved would lack that change",
                             fix="this is a defect of the adapter or the optimizer; please report it")


def _some(tensor: torch.Tensor) -> torch.Tensor:
    """At most 1024 of its numbers, evenly taken."""
    flat = tensor.detach().reshape(-1)
    return flat[::max(len(flat) // 1024, 1)].clone()


class Unmoved:
    """In the first steps with a learning rate, something must move where its gradient is largest."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], steps: int = 3) -> None:
        self._parameters, self._left = list(parameters.values()), steps
        self._before: list[tuple[nn.Parameter, int, float]] = []

    def before(self) -> None:
        """Note each tensor where its gradient is largest; called when the gradients are there."""
        if self._left:
            self._before = [(p, at := int(p.grad.abs().argmax()), float(p.detach().view(-1)[at]))
                            for p in self._parameters if p.grad is not None and bool(p.grad.any())]

    def after(self, rate: float) -> None:
        """Look there when the optimizer has stepped with this learning rate.

        Raises:
            GuardError: nothing has moved in any of the steps.
        """
        if not self._left or not self._before or rate <= 0:
            return
        moved = any(float(p.detach().view(-1)[at]) != value for p, at, value in self._before)
        self._left = 0 if moved else self._left - 1
        self._before = []
        if not moved and not self._left:
            raise GuardError("the optimizer moves nothing", why="after three steps every number is what it was where "
                             "its gradient is largest", fix="choose a larger learning_rate, or another optimizer")


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


def check_seed(feed: Feed, other: Feed) -> None:
    """See that another seed deals the rows in another order.

    Args:
        feed, other: of two seeds, each an order by chance that can be foreseen.

    Raises:
        GuardError: the seed decides nothing, so that seeds would be no repetitions.
    """
    dealt, otherwise = list[int](), list[int]()
    for step in range(feed.steps_per_epoch):
        dealt += feed.foreseen(step) or []
        otherwise += other.foreseen(step) or []
        if len(dealt) >= _DEALT:
            break
    if len(dealt) >= _DEALT and dealt == otherwise:
        raise GuardError("two seeds deal the rows in the same order", why="the seed is not used",
                         fix="this is a defect of the sampling; please report it")


def check_put_back(moving: Mapping[str, nn.Parameter], best: Mapping[str, torch.Tensor]) -> None:
    """See that the weights in the model are those that were best.

    Raises:
        GuardError: they are others.
    """
    if other := [name for name, p in moving.items() if not torch.equal(p.detach().cpu(), best[name])]:
        raise GuardError(f"{len(other)} tensors are not those of the best step", where=", ".join(other[:3]),
                         why="the best weights were not put back, or something has moved since",
                         fix="this is a defect of scrimp; please report it")


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
