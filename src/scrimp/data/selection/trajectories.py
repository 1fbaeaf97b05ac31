"""Selectors that look at how each row is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection
from scrimp.data.selection.target import best_first
from scrimp.data.selection.warmup import WarmedUp

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["TrajectoryAlignment", "alignment"]

_ALIGNED = 0.6  # the paper's threshold


class TrajectoryAlignment(WarmedUp):
    """Keep the rows that are learned as the pool is on the whole: neither at once nor never.

    With the reward ``r_ik`` of row i after epoch k, and the mean over rows ``m_k``,
    ``s_i = 1 - sum_k (r_ik - m_k)^2 / sum_k (1 - m_k)^2``. Li et al. 2025, "LIMR: Less is More for RL Scaling", where
    the reward is that of reinforcement learning; here it is the probability of a row's tokens, their geometric mean.

    Attributes:
        share: of the pool, drawn by chance, that LoRA is trained on.
    """

    share: float = Field(default=1.0, gt=0, le=1)

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        encoded, rewards = signals.encoded(pool), []
        with self.stages(signals.language(), encoded, signals.meter, seed) as (model, after):
            for stage in after:
                stage.enter(model)
                rewards.append([float(np.exp(row.log_probability.mean())) if len(row.log_probability) else 1.0
                                for row in signals.losses(model, encoded)])
        scores = alignment(np.array(rewards).T)
        return Selection(best_first(scores, keep), scores,
                         why=f"{int((scores > _ALIGNED).sum())} of {len(pool)} rows are learned as the pool is on the "
                             f"whole (above {_ALIGNED})")

    def cost(self) -> Cost:
        return Cost(forward=self.epochs * (1 + self.share), backward=self.epochs * self.share)


def alignment(rewards: np.ndarray) -> np.ndarray:
    """How each row's rewards [N, K] after K epochs follow their mean, float64 [N]; 1 where they are the mean.

    Where the mean is perfect throughout, every row is perfect, and aligned.
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    mean = rewards.mean(axis=0)
    apart, room = np.square(rewards - mean).sum(axis=1), float(np.square(1 - mean).sum())
    return 1 - apart / max(room, 1e-12)


preset("lim", TrajectoryAlignment, papers=(45,))
