"""The control of all selectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Random"]


class Random(Selector):
    """Keep rows by chance, each as likely as any other: the control that costs nothing."""

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        return Selection(np.random.default_rng(seed).permutation(len(pool))[:keep], why="drawn by chance")

    def cost(self) -> Cost:
        return Cost(forward=0)


preset("random", Random)
