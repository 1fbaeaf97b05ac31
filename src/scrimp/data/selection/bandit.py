"""A bandit between strategies of active learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["StrategyBandit"]


class StrategyBandit:
    """Which strategy to ask for the next row, by the classes that each has found so far (Thompson sampling).

    Args:
        strategies: how many there are.
        classes: how many there are.
        discount: what is left of a finding after each round: strategies change as the model does.

    Attributes:
        found: float64 [S, C], discounted rows of each class that each strategy has given.
        drawn: int64 [S], how often each was drawn.
    """

    def __init__(self, strategies: int, classes: int, *, discount: float = 1.0) -> None:
        self.found, self.drawn = np.zeros((strategies, classes)), np.zeros(strategies, dtype=np.int64)
        self._discount = discount

    def draw(self, counts: np.ndarray, rng: np.random.Generator) -> int:
        """A strategy, where each class has been labelled ``counts`` [C] times.

        A class counts the more, the rarer it is: the reward of a row is one over the times its class is labelled.
        """
        others = self.found.sum(axis=1, keepdims=True) - self.found
        rewards = rng.beta(1 + self.found, 1 + others) @ (1 / np.maximum(counts, 1))
        strategy = int(rewards.argmax())
        self.drawn[strategy] += 1
        return strategy

    def learn(self, strategies: Sequence[int], classes: Sequence[int]) -> None:
        """A round is over: of each row in it, the strategy that gave it and its class."""
        self.found *= self._discount
        np.add.at(self.found, (np.asarray(strategies), np.asarray(classes)), 1)
