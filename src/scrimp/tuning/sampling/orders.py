"""Orders within an epoch: from short to long, or from easy to hard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import Field

from scrimp.core.registry import Cost, preset
from scrimp.tuning.sampling.base import Answer, Feed, Planned, Question, Rounds, Sampling, cut

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Curriculum", "LengthCurriculum"]


class LengthCurriculum(Sampling):
    """Steps of examples of one length, with as many tokens in each, short ones first, in cycles.

    Examples are in buckets by the power of two that their length reaches. A step is drawn from one bucket and holds as
    many of its examples as make up the tokens of ``batch_size`` examples of mean length. An epoch deals the steps of
    each bucket evenly to ``cycles``; in a cycle a bucket that has steps left is drawn with odds ``growth^-i``, ``i``
    counting buckets from the shortest, so that short ones are over first. Pouransari et al. 2024, "Dataset
    Decomposition: Faster LLM Training with Variable Sequence Length Curriculum" (there documents are first decomposed:
    packing ``decomposed``).

    Attributes:
        cycles: from short to long in an epoch.
        growth: odds of a bucket to those of the next longer one; 1 mixes all lengths, below 1 long ones come first.
    """

    cycles: int = Field(default=4, ge=1)
    growth: float = Field(default=2.0, gt=0)

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        lengths = np.array([row.padded for row in rows])
        tokens = batch_size * lengths.mean()
        kinds = np.log2(lengths).astype(np.int64)

        def epoch(number: int) -> list[list[int]]:
            rng = np.random.default_rng([seed, number])
            buckets = [_steps(rng.permutation(np.flatnonzero(kinds == kind)), lengths, tokens)
                       for kind in np.unique(kinds)]
            dealt = [[bucket[cycle::self.cycles] for bucket in buckets] for cycle in range(self.cycles)]
            return [step for cycle in dealt for step in self._drawn(cycle, rng)]

        return Planned(epoch)

    def _drawn(self, buckets: list[list[list[int]]], rng: np.random.Generator) -> list[list[int]]:
        """All steps of a cycle, in the order in which they are drawn."""
        found, odds = [], self.growth ** -np.arange(len(buckets), dtype=np.float64)
        while any(buckets):
            open_now = odds * np.array([bool(bucket) for bucket in buckets])
            found.append(buckets[rng.choice(len(buckets), p=open_now / open_now.sum())].pop())
        return found


class Curriculum(Sampling):
    """Easy examples first, in each epoch, or in several sweeps of it.

    Difficulty is the length of an example or its loss under the model that training begins with, measured in one billed
    pass. An epoch deals a random permutation to ``sweeps`` and orders each by difficulty. Bengio et al. 2009,
    "Curriculum Learning"; Yang et al. 2024, "Fine-tuning Large Language Models with Human-inspired Learning Strategies
    in Medical Question Answering", who find that no order is best everywhere.

    Attributes:
        difficulty: what an example is hard by.
        sweeps: from easy to hard in an epoch.
    """

    difficulty: Literal["length", "loss"] = "loss"
    sweeps: int = Field(default=1, ge=1)

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        given = np.array([row.padded for row in rows], np.float64) if self.difficulty == "length" else None
        return _Rising(given, len(rows), batch_size, seed, self.sweeps)

    def cost(self) -> Cost:
        return Cost(forward=float(self.difficulty == "loss"), backward=0)


class _Rising(Rounds):
    def __init__(self, difficulty: np.ndarray | None, count: int, batch_size: int, seed: int, sweeps: int) -> None:
        super().__init__(batch_size, -(-count // batch_size))
        self._count, self._seed, self._sweeps = count, seed, sweeps
        self._difficulty = difficulty

    def ask(self, step: int) -> Question | None:
        return Question({"all": range(self._count)}) if self._difficulty is None else None

    def told(self, step: int, answer: Answer) -> None:
        self._difficulty = np.array([answer.losses[i] for i in range(self._count)])

    def draw(self, number: int, step: int) -> np.ndarray:
        assert self._difficulty is not None
        order = np.random.default_rng([self._seed, number]).permutation(self._count)
        sweeps = [order[at::self._sweeps] for at in range(self._sweeps)]
        return np.concatenate([sweep[self._difficulty[sweep].argsort(kind="stable")] for sweep in sweeps])

    def state(self) -> dict[str, torch.Tensor]:
        known = {} if self._difficulty is None else {"difficulty": torch.from_numpy(self._difficulty)}
        return {**super().state(), **known}

    def adopt(self, state: Mapping[str, torch.Tensor]) -> None:
        super().adopt(state)
        self._difficulty = state["difficulty"].numpy() if "difficulty" in state else self._difficulty


def _steps(order: np.ndarray, lengths: np.ndarray, tokens: float) -> list[list[int]]:
    """Examples in steps of at most so many padded tokens, in their order; each but the last has as many of them."""
    return cut(order.tolist(), max(1, int(tokens // lengths[order].max())))


preset("length-curriculum", LengthCurriculum, papers=(72,))
preset("curriculum", Curriculum, papers=(564,))
preset("curriculum-sweeps", Curriculum, papers=(564,), sweeps=4)
