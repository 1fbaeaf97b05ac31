"""Pruning that follows the losses: a window that slides from easy examples to hard ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.tuning.sampling.base import Feed, Rounds, Sampling

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["SlidingWindow"]


class SlidingWindow(Sampling):
    """Leave out what is too easy or too hard by now, by the losses that training has shown.

    In each round a share ``pruned`` of the examples is left out by chance. The others are clustered by their last loss
    (k-means), and of the ``clusters``, in the order of their loss, a window of the share ``window`` is trained on. It
    moves from the easiest to the hardest as the run goes on. The first round, when no loss is known, has no window.
    Those of the last share ``annealing`` of the plan are drawn from all by chance, as many as the window would hold.
    Losses are those of the steps themselves, so that they cost nothing. Zhou et al. 2025, "Scale Efficient Training for
    Large Datasets" (SeTa); that the window passes once over the run is our reading.

    Attributes:
        pruned: share left out by chance in each round.
        clusters: of examples of like loss.
        window: share of the clusters that is trained on.
        annealing: share of the planned steps, at the end, for which examples are drawn from all.
    """

    pruned: float = Field(default=0.2, ge=0, lt=1)
    clusters: int = Field(default=5, ge=1)
    window: float = Field(default=0.6, gt=0, le=1)
    annealing: float = Field(default=0.2, ge=0, le=1)

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        return _Window(self, len(rows), batch_size, seed)


class _Window(Rounds):
    wants_losses = True

    def __init__(self, method: SlidingWindow, count: int, batch_size: int, seed: int) -> None:
        self._left = max(1, round((1 - method.pruned) * count))
        self._usual = max(1, round(method.window * self._left))
        super().__init__(batch_size, -(-self._usual // batch_size))
        self._method, self._seed = method, seed
        self._losses = np.full(count, np.nan, dtype=np.float32)

    def draw(self, number: int, step: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, number])
        drawn = rng.permutation(len(self._losses))[:self._left]
        sliding = (1 - self._method.annealing) * self.planned
        if np.isnan(self._losses).all():
            return drawn
        if step >= sliding:
            return drawn[:self._usual]
        return rng.permutation(self._within(drawn, step / sliding))

    def see(self, step: int, losses: Mapping[int, float]) -> None:
        self._losses[list(losses)] = list(losses.values())

    def state(self) -> dict[str, torch.Tensor]:
        return {**super().state(), "losses": torch.from_numpy(self._losses)}

    def adopt(self, state: Mapping[str, torch.Tensor]) -> None:
        super().adopt(state)
        self._losses = state["losses"].numpy().copy()

    def _within(self, drawn: np.ndarray, progress: float) -> np.ndarray:
        """Those in the window; an example that was never seen counts as one of middling loss."""
        known = np.where(np.isnan(self._losses), np.nanmedian(self._losses), self._losses)[drawn]
        ranks, count = _clusters(known, self._method.clusters, self._seed)
        wide = max(1, round(self._method.window * count))
        first = round(progress * (count - wide))
        return drawn[(ranks >= first) & (ranks < first + wide)]


def _clusters(losses: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, int]:
    """For each loss the rank of its cluster, the easiest first; and how many clusters there are."""
    from sklearn.cluster import KMeans

    count = min(count, len(np.unique(losses)))
    found = KMeans(count, n_init=1, random_state=seed).fit(losses[:, None].astype(np.float64))
    ranks = found.cluster_centers_[:, 0].argsort().argsort()
    return ranks[found.labels_], count


preset("sliding-window", SlidingWindow, papers=(46,))
