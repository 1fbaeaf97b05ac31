"""Epochs over a share of the examples: a new one each time, or always the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.tuning.sampling.base import Feed, Planned, Sampling, cut

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Subsets"]


class Subsets(Sampling):
    """Each epoch sees a share ``r`` of the examples, drawn by chance without any measure of what they are worth.

    Redrawn, the rounds of one pass are disjoint: ``floor(1 / r)`` of them from one permutation, then another
    permutation. ``epochs`` counts rounds, so that the learning rate decays over the steps that are made. Okanovic et
    al. 2023, "Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning".

    Attributes:
        subset: share of the examples in an epoch.
        redrawn: whether each epoch has another subset.
    """

    subset: float = Field(default=0.1, gt=0, le=1)
    redrawn: bool = True

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        count = max(1, round(self.subset * len(rows)))
        rounds = len(rows) // count

        def epoch(number: int) -> list[list[int]]:
            passed, within = divmod(number, rounds) if self.redrawn else (0, 0)
            order = np.random.default_rng([seed, passed]).permutation(len(rows))[within * count:][:count]
            if not self.redrawn:
                order = np.random.default_rng([seed, 1, number]).permutation(order)
            return cut(order.tolist(), batch_size)

        return Planned(epoch)


preset("rs2", Subsets, papers=(67,))
preset("static-subset", Subsets, redrawn=False)
