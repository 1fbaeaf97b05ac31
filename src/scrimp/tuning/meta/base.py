"""The family of meta-learners: trained on tasks, they give a learner that needs few examples of a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import nn

from scrimp.core.registry import Cost, Method

__all__ = ["Episode", "Learner", "MetaLearner", "Tasks"]


@dataclass(frozen=True)
class Episode:
    """A task in small: what is learned from, and what is then asked.

    Attributes:
        support_x, query_x: inputs, [N, ...] arrays or lists of texts.
        support_y, query_y: their answers: int64 classes [N], or float32 [N, ...] in a regression.
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any


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
        """Passes over each example of an episode in meta-training."""
        raise NotImplementedError
