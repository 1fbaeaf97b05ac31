"""What is usual: all examples, each as often as any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scrimp.core.registry import preset
from scrimp.tuning.sampling.base import Feed, Sampling, Shuffled

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Shuffle"]


class Shuffle(Sampling):
    """Every example once an epoch, in an order that seed and epoch decide."""

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        return Shuffled(len(rows), batch_size=batch_size, seed=seed)


preset("shuffle", Shuffle)
