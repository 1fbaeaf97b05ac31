"""Filtering a stream: the backward pass, and at last the forward pass, only for examples that are still hard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from scrimp.core.registry import Cost, preset
from scrimp.tuning.sampling.base import Answer, Feed, Question, Sampling

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Filtering"]

_REMEMBERED = 512  # losses and guesses that thresholds go by
_WIDTH = 64  # numbers that an example's tokens are hashed to
_RIDGE, _KEPT = 1.0, 0.995  # of the predictor: the penalty, and what each new example leaves of those before


class Filtering(Sampling):
    """Read the examples as a stream and train on those whose loss is high, in three stages.

    1. In a first share ``unfiltered`` of the planned steps all are trained on.
    2. Then losses are measured before each step (forward only, billed), and only examples above a threshold are trained
       on. The threshold is the running quantile of the last 512 losses that lets a share ``passing`` through. What a
       step has no room for waits for the next; where too few pass, the hardest that were measured fill the step.
    3. A share ``guessed`` is not even measured: what a predictor finds easiest. It is a ridge regression, learned as
       losses become known and slowly forgetting, from hashed tokens to the loss, and costs no pass of the model.

    Stages 2 and 3 begin together, for the predictor learns in stage 1. Ouyang et al. 2022, "Efficient NLP Model
    Finetuning via Multistage Data Filtering"; the quantile and the predictor are our choices.

    Attributes:
        passing: share of the measured examples that is trained on.
        guessed: share of the examples that is left out by the predictor.
        unfiltered: share of the planned steps that train on everything.
    """

    passing: float = Field(default=0.5, gt=0, le=1)
    guessed: float = Field(default=0.3, ge=0, lt=1)
    unfiltered: float = Field(default=0.1, ge=0, le=1)

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        return _Filter(self, rows, batch_size, seed)

    def cost(self) -> Cost:
        return Cost(forward=1 / self.passing, backward=0)


class _Filter(Feed):
    wants_losses = True

    def __init__(self, method: Filtering, rows: Sequence[Encoded], batch_size: int, seed: int) -> None:
        super().__init__(max(1, round(method.passing * (1 - method.guessed) * len(rows) / batch_size)))
        self._method, self._batch_size, self._seed = method, batch_size, seed
        self._features = np.stack([_hashed(row.ids) for row in rows])
        self._read = 0
        self._waiting: list[int] = []
        self._losses, self._guesses = np.zeros(0), np.zeros(0)
        self._moments, self._towards = np.zeros((_WIDTH, _WIDTH)), np.zeros(_WIDTH)

    def ask(self, step: int) -> Question | None:
        self.wants_losses = not len(self._losses) or step < self._method.unfiltered * self.planned
        missing = self._batch_size - len(self._waiting)
        if self.wants_losses:
            self._waiting += self._next(missing)
        elif missing > 0:
            return Question({"stream": self._promising(math.ceil(missing / self._method.passing))})
        return None

    def told(self, step: int, answer: Answer) -> None:
        self._learn(answer.losses)
        hard = np.quantile(self._losses, 1 - self._method.passing)
        hardest = sorted(answer.losses, key=lambda i: -answer.losses[i])
        passed = sum(1 for loss in answer.losses.values() if loss >= hard)
        self._waiting += hardest[:max(passed, self._batch_size - len(self._waiting))]

    def indices(self, step: int) -> list[int]:
        return self._waiting[:self._batch_size]

    def see(self, step: int, losses: Mapping[int, float]) -> None:
        del self._waiting[:self._batch_size]
        if losses:
            self._learn(losses)

    def state(self) -> dict[str, torch.Tensor]:
        whole = {"waiting": np.array(self._waiting, np.int64), "read": np.array(self._read), "losses": self._losses,
                 "guesses": self._guesses, "moments": self._moments, "towards": self._towards}
        return {name: torch.from_numpy(found) for name, found in whole.items()}

    def adopt(self, state: Mapping[str, torch.Tensor]) -> None:
        self._waiting, self._read = state["waiting"].tolist(), int(state["read"])
        self._losses, self._guesses = state["losses"].numpy(), state["guesses"].numpy()
        self._moments, self._towards = state["moments"].numpy(), state["towards"].numpy()

    def _next(self, count: int) -> list[int]:
        """The next examples of the stream, which goes through all of them in a new order each time."""
        passes = {place // len(self._features) for place in range(self._read, self._read + count)}
        orders = {n: np.random.default_rng([self._seed, n]).permutation(len(self._features)) for n in passes}
        found = [divmod(place, len(self._features)) for place in range(self._read, self._read + count)]
        self._read += count
        return [int(orders[passed][within]) for passed, within in found]

    def _promising(self, count: int) -> list[int]:
        """About ``count`` of the next examples: those which the predictor does not find easy."""
        read = self._next(math.ceil(count / (1 - self._method.guessed)))
        fitted = np.linalg.solve(self._moments + _RIDGE * np.eye(_WIDTH), self._towards)
        guesses = self._features[read] @ fitted
        self._guesses = np.concatenate([self._guesses, guesses])[-_REMEMBERED:]
        hard = guesses >= np.quantile(self._guesses, self._method.guessed)
        return [i for i, asked in zip(read, hard, strict=True) if asked] or [read[int(guesses.argmax())]]

    def _learn(self, losses: Mapping[int, float]) -> None:
        features, found = self._features[list(losses)], np.array(list(losses.values()))
        self._losses = np.concatenate([self._losses, found])[-_REMEMBERED:]
        left = _KEPT ** len(found)
        self._moments = left * self._moments + features.T @ features
        self._towards = left * self._towards + features.T @ found


def _hashed(ids: Sequence[int]) -> np.ndarray:
    """A row's tokens as numbers of unit length, float64 [W], by the signs and places that their ids are hashed to."""
    mixed = np.asarray(ids, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: golden ratio * 2^64
    signs = 1.0 - 2.0 * ((mixed >> np.uint64(32)) & np.uint64(1)).astype(np.float64)
    found = np.bincount((mixed >> np.uint64(40)).astype(np.int64) % (_WIDTH - 1), signs, _WIDTH - 1)
    return np.append(found / max(float(np.linalg.norm(found)), 1.0), 1.0)


preset("multistage-filter", Filtering, papers=(161,))
