"""The family of samplings: which examples each optimizer step sees, decided as training goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from scrimp.core.registry import Cost, Method
from scrimp.examples import batching

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.examples.templates import Encoded

__all__ = ["Answer", "Feed", "Planned", "Question", "Rounds", "Sampling", "Shuffled", "cut"]


@dataclass(frozen=True)
class Question:
    """What a feed wants to know of the model before it decides a step.

    Attributes:
        groups: examples, by the name of their group.
        gradients: whether the inner products of the groups' gradients are wanted, which costs backward passes.
    """

    groups: Mapping[str, Sequence[int]]
    gradients: bool = False


@dataclass(frozen=True)
class Answer:
    """What the trainer found.

    Attributes:
        losses: of each example that was asked about, in nats a trained token (or row); without dropout where no
            gradients were asked for.
        means: of each group, in nats a trained token (or row).
        products: of two groups (and of each with itself), the inner product of the gradients of their means, over what
            moves in this step; empty if they were not asked for.
    """

    losses: Mapping[int, float]
    means: Mapping[str, float]
    products: Mapping[tuple[str, str], float] = field(default_factory=dict)


class Feed:
    """Which examples each step of one run sees. What it decides follows from its making and from what it was told.

    In each step the trainer calls `ask` once, `told` where there was a question, `indices`, and after the update `see`.
    `state` is kept in checkpoints, which lie between steps.

    Attributes:
        steps_per_epoch: steps of what counts as one pass; `epochs` are of so many.
        wants_losses: whether `see` is to be given losses, which are computed only then.
        planned: steps of the run, as it is planned now; the trainer keeps it up to date.
    """

    wants_losses: bool = False
    planned: int = 0

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch

    def ask(self, step: int) -> Question | None:
        """What must be known before the step (from 0) is decided; the passes are on the bill."""
        return None

    def told(self, step: int, answer: Answer) -> None:
        """The answer to what was asked of this step."""

    def indices(self, step: int) -> list[int]:
        """The examples of the step, at least one; together no longer than ``batch_size`` of the longest example."""
        raise NotImplementedError

    def see(self, step: int, losses: Mapping[int, float]) -> None:
        """The step was made; its examples had these losses before it, in nats a trained token (or row)."""

    def foreseen(self, step: int) -> list[int] | None:
        """The examples of the step if they follow from data, seed and plan alone, else None; changes nothing."""
        return None

    def state(self) -> dict[str, torch.Tensor]:
        """All that a continuation needs beside data and seed."""
        return {}

    def adopt(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""


class Sampling(Method):
    """Decides which examples each step sees."""

    family: ClassVar[str] = "sampling"
    verb: ClassVar[str] = "feed"

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        """The feed of one run.

        Args:
            rows: the examples, each with something to learn; indices are places in it.
            batch_size: examples of a usual step.
            seed: of every random choice.
        """
        raise NotImplementedError

    @property
    def column(self) -> str | None:
        """The field of the data that it goes by; rows are then read with all their fields."""
        return None

    def over(self, rows: Examples) -> Sampling:
        """This sampling for a training on ``rows``, where it goes by more of them than their tokens."""
        return self

    def cost(self) -> Cost:
        """Passes beside those of training, at most, for each example that is trained on, in the long run."""
        return Cost(forward=0, backward=0)


class Planned(Feed):
    """Base of feeds that follow from data and seed alone: each epoch is a list of steps.

    Args:
        epoch: the steps of an epoch (from 0), each a list of examples; every epoch has as many.
    """

    def __init__(self, epoch: Callable[[int], list[list[int]]]) -> None:
        self._make, self._epoch, self._steps = epoch, 0, epoch(0)
        super().__init__(len(self._steps))

    def indices(self, step: int) -> list[int]:
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._steps, self._epoch = self._make(epoch), epoch
        return self._steps[within]

    def foreseen(self, step: int) -> list[int]:
        return self.indices(step)


class Shuffled(Planned):
    """Every example once an epoch, in an order of each epoch's own."""

    def __init__(self, count: int, *, batch_size: int, seed: int) -> None:
        super().__init__(lambda epoch: batching.steps(range(count), batch_size=batch_size, seed=seed, epoch=epoch))


class Rounds(Feed):
    """Base of feeds that draw the examples of one round after another, each from what was seen until then.

    Rounds may differ in length; ``steps_per_epoch`` is what they are meant to have.
    """

    def __init__(self, batch_size: int, steps_per_epoch: int) -> None:
        super().__init__(steps_per_epoch)
        self._batch_size = batch_size
        self._round, self._began = -1, 0
        self._order = np.zeros(0, dtype=np.int64)

    def draw(self, number: int, step: int) -> np.ndarray:
        """The examples of a round (from 0) that begins with this step, int64, in their order; at least one."""
        raise NotImplementedError

    def indices(self, step: int) -> list[int]:
        while (at := (step - self._began) * self._batch_size) >= len(self._order):
            self._began = step if self._round < 0 else self._began - (-len(self._order) // self._batch_size)
            self._round += 1
            self._order = self.draw(self._round, self._began)
        return self._order[at:at + self._batch_size].tolist()

    def state(self) -> dict[str, torch.Tensor]:
        return {"order": torch.from_numpy(self._order), "at": torch.tensor([self._round, self._began])}

    def adopt(self, state: Mapping[str, torch.Tensor]) -> None:
        self._order = state["order"].numpy()
        self._round, self._began = state["at"].tolist()


def cut(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Examples in steps of ``batch_size``, in their order; the last step may have fewer."""
    return [list(order[at:at + batch_size]) for at in range(0, len(order), batch_size)]
