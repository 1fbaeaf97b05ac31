"""The family of meta-learners: trained on tasks, they give a learner that needs few examples of a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scrimp.core.errors import GuardError
from scrimp.core.interrupts import stop_if_requested
from scrimp.core.registry import Cost, Method
from scrimp.tuning.reproducible import reproducible

__all__ = ["Episode", "Episodic", "Learner", "MetaLearner", "Tasks", "loss_of", "tensors"]


@dataclass(frozen=True)
class Episode:
    """A task in small: what is learned from, and what is then asked.

    Attributes:
        support_x, query_x: inputs, [N, ...] arrays or lists of texts.
        support_y, query_y: their answers: int64 classes [N], or float32 [N, ...] in a regression.
        known_as: int64 [C], the number among all ``known`` classes of each of the episode's, where tasks are drawn from
            common classes; for methods that learn these together.
        known: how many classes there are in common.
        words: the episode's classes in words, for methods that read and write them.
        instruction: what the task asks, for these.
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any
    known_as: np.ndarray | None = None
    known: int = 0
    words: tuple[str, ...] = ()
    instruction: str = ""


Tasks = Callable[[np.random.Generator], Episode]  # draws a task, and an episode of it


class Learner(Protocol):
    """What meta-training leaves: from a support set to predictions, in one call and without a trace."""

    def predict(self, episode: Episode) -> np.ndarray:
        """Predictions for ``episode.query_x`` after learning from its support: class scores [N, C] or values."""


class MetaLearner(Method):
    """Learns to learn."""

    family: ClassVar[str] = "meta"
    verb: ClassVar[str] = "fit"

    def fit(self, model: nn.Module, tasks: Tasks, *, seed: int = 0) -> Learner:
        """A learner made of ``model``, meta-trained on episodes that ``tasks`` draws. ``model`` is changed in place."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes over each example of an episode in meta-training, support and query being of one size."""
        raise NotImplementedError


class Episodic(MetaLearner):
    """Base of those that take a step of Adam on each few episodes.

    A method implements `accumulate` and `learner`.

    Attributes:
        meta_steps: updates in meta-training.
        meta_rate: their learning rate.
        tasks_per_step: episodes of an update.
    """

    meta_steps: int = Field(default=1000, ge=1)
    meta_rate: float = Field(default=1e-3, gt=0)
    tasks_per_step: int = Field(default=4, ge=1)

    def fit(self, model: nn.Module, tasks: Tasks, *, seed: int = 0) -> Learner:
        """As said above.

        Raises:
            GuardError: if the loss is no number any more.
        """
        with reproducible(seed, next(model.parameters()).device):
            self.descend(model, tasks, np.random.default_rng(seed), lambda episodes: self.accumulate(model, episodes))
        return self.learner(model)

    def descend(self, model: nn.Module, tasks: Tasks, rng: np.random.Generator,
                accumulate: Callable[[Sequence[Episode]], float]) -> None:
        """All updates of ``model``, by the gradients that ``accumulate`` leaves."""
        optimizer = torch.optim.Adam(model.parameters(), lr=self.meta_rate)
        model.train()
        for step in range(self.meta_steps):
            stop_if_requested()
            optimizer.zero_grad(set_to_none=True)
            loss = accumulate([tasks(rng) for _ in range(self.tasks_per_step)])
            if not np.isfinite(loss):
                raise GuardError(f"the loss of meta-training is {loss} in step {step + 1}",
                                 fix="choose a smaller learning rate")
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.eval()

    def accumulate(self, model: nn.Module, episodes: Sequence[Episode]) -> float:
        """Leave the mean gradient over the episodes in the parameters; returns the mean loss."""
        raise NotImplementedError

    def learner(self, model: nn.Module) -> Learner:
        """What uses the meta-trained ``model``."""
        raise NotImplementedError


def tensors(model: nn.Module, *arrays: Any) -> list[torch.Tensor]:
    """Arrays on the model's device; real numbers in its precision, whole numbers as int64."""
    parameter = next(model.parameters())
    made = [torch.as_tensor(np.asarray(array)) for array in arrays]
    return [t.to(parameter.device, parameter.dtype if t.is_floating_point() else torch.int64) for t in made]


def loss_of(said: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of scores [N, C] and classes [N], or the mean square of the differences of values."""
    return F.mse_loss(said, wanted) if wanted.is_floating_point() else F.cross_entropy(said, wanted)
