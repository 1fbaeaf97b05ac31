"""The family of continual learning: what of the old comes back while the new is learned."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from scrimp.core.registry import Method

__all__ = ["Continual"]


class Continual(Method):
    """Mixes old data into new."""

    family: ClassVar[str] = "continual"
    verb: ClassVar[str] = "order"

    def order(self, new: int, old: int, *, seed: int = 0) -> np.ndarray:
        """The order in which to learn from ``new`` new rows and ``old`` old ones.

        Returns:
            int64 [M]: row ``i`` of the new data is ``i``, row ``j`` of the old data is ``new + j``.
        """
        raise NotImplementedError
