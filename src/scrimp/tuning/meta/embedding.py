"""A good embedding with a simple classifier on it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scrimp.core.errors import DataError
from scrimp.core.registry import Cost, build, preset
from scrimp.tuning.heads import Head
from scrimp.tuning.meta.base import Episode, Episodic, Learner, Tasks, tensors
from scrimp.tuning.reproducible import reproducible

__all__ = ["Prototypes", "SupervisedEmbedding"]


class Prototypes(Episodic):
    """Train an embedding in which a class is its mean: queries go to the nearest mean of the support.

    ``p(c | x) = softmax(-|f(x) - mean f(support of c)|^2)``. Snell et al. 2017, "Prototypical Networks for Few-shot
    Learning". ``model`` maps inputs to embeddings [N, D].

    Attributes:
        meta_steps: updates in meta-training.
        meta_rate: their learning rate.
        tasks_per_step: episodes of an update.
    """

    def accumulate(self, model: nn.Module, episodes: Sequence[Episode]) -> float:
        total = 0.0
        for episode in episodes:
            x, y, asked, wanted = tensors(model, episode.support_x, episode.support_y, episode.query_x,
                                          episode.query_y)
            near = -torch.cdist(model(asked), _means(model(x), y)) ** 2
            loss = F.cross_entropy(near, wanted) / len(episodes)
            loss.backward()
            total += float(loss.detach())
        return total

    def learner(self, model: nn.Module) -> Learner:
        return _OnFeatures(model, build("head", "nearest-mean"))

    def cost(self) -> Cost:
        return Cost(forward=1, backward=1)


class SupervisedEmbedding(Episodic):
    """Train an embedding by plainly telling all known classes apart; a new task is a linear classifier on it.

    ``L = CE(W f(x), class among all)`` over all rows of the episodes, ``W`` thrown away afterwards; with
    ``generations`` above one, each next embedding begins anew and learns ``(1 - soft) CE + soft KL(the last one's
    probabilities)``. On a task: features of unit length under logistic regression. Tian et al. 2020, "Rethinking
    Few-Shot Image Classification: a Good Embedding Is All You Need?". ``model`` maps inputs to embeddings [N, D], and
    episodes must say what their classes are known as (`Episode.known_as`).

    Attributes:
        meta_steps: updates of each generation.
        meta_rate: their learning rate.
        tasks_per_step: episodes whose rows, support and query, make an update.
        generations: embeddings trained one after another; the last is kept.
        soft: weight of what the generation before says.
        head: name of the classifier on the features.
        normalise: bring features to unit length.
    """

    generations: int = Field(default=1, ge=1)
    soft: float = Field(default=0.5, ge=0, le=1)
    head: Literal["logistic", "nearest-mean", "ridge", "diagonal-lda"] = "logistic"
    normalise: bool = True

    def fit(self, model: nn.Module, tasks: Tasks, *, seed: int = 0) -> Learner:
        """As said above.

        Raises:
            DataError: if an episode does not say what its classes are known as.
            GuardError: if the loss is no number any more.
        """
        start, teacher = copy.deepcopy(model.state_dict()), None
        with reproducible(seed, next(model.parameters()).device):
            for generation in range(self.generations):
                model.load_state_dict(start)
                rng = np.random.default_rng([seed, generation])
                classifier = nn.Linear(*_sizes(model, tasks(rng))).to(next(model.parameters()))
                whole = nn.Sequential(model, classifier)
                self.descend(whole, tasks, rng, partial(self._accumulate, whole, teacher))
                teacher = copy.deepcopy(whole)
        return self.learner(model)

    def learner(self, model: nn.Module) -> Learner:
        options = {"strength": 1.0} if self.head == "logistic" else {}
        return _OnFeatures(model, build("head", self.head, {"normalise": self.normalise, **options}))

    def cost(self) -> Cost:
        """The teacher of each generation but the first makes a forward pass too."""
        return Cost(forward=2 - 1 / self.generations, backward=1)

    def _accumulate(self, whole: nn.Module, teacher: nn.Module | None, episodes: Sequence[Episode]) -> float:
        rows = [_known_rows(episode) for episode in episodes]
        x, y = tensors(whole, np.concatenate([x for x, _ in rows]), np.concatenate([y for _, y in rows]))
        said = whole(x)
        loss = F.cross_entropy(said, y)
        if teacher is not None:
            with torch.no_grad():
                taught = teacher(x).log_softmax(-1)
            away = F.kl_div(said.log_softmax(-1), taught, reduction="batchmean", log_target=True)
            loss = (1 - self.soft) * loss + self.soft * away
        loss.backward()
        return float(loss.detach())


@dataclass(frozen=True)
class _OnFeatures:
    """An embedding, and the head that is fitted on a support's features."""

    model: nn.Module
    head: Head

    def predict(self, episode: Episode) -> np.ndarray:
        x, asked = tensors(self.model, episode.support_x, episode.query_x)
        with torch.no_grad():
            known, new = (self.model(t).float().cpu().numpy() for t in (x, asked))
        labels = np.asarray(episode.support_y)
        return self.head.fit(known, labels, classes=int(labels.max()) + 1).log_probabilities(new)


def _known_rows(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """Support and query together, with their classes among all."""
    if episode.known_as is None:
        raise DataError("the episode does not say what its classes are known as among all",
                        fix="draw episodes with known_as and known")
    labels = np.concatenate([episode.support_y, episode.query_y])
    return np.concatenate([episode.support_x, episode.query_x]), np.asarray(episode.known_as)[labels]


def _sizes(model: nn.Module, episode: Episode) -> tuple[int, int]:
    """Width of the embedding, and number of all classes."""
    _known_rows(episode)
    with torch.no_grad():
        return model(tensors(model, episode.support_x[:1])[0]).shape[1], episode.known


def _means(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of each class [C, D]."""
    of_class = F.one_hot(labels).to(features.dtype)
    return of_class.T @ features / of_class.sum(dim=0)[:, None]


preset("prototypes", Prototypes)
preset("rfs", SupervisedEmbedding, papers=(185,))
preset("rfs-distilled", SupervisedEmbedding, papers=(185,), generations=2)
