"""The family of selectors: which examples of a pool to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scrimp.core.errors import GuardError
from scrimp.core.registry import Cost, Method

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Selection", "Selector"]

_FIX = "tell its author, or choose another method"


@dataclass(frozen=True)
class Selection:
    """What was kept.

    Attributes:
        indices: int64 [K], rows of the pool, the best first; no row twice.
        scores: float64 [N] of the whole pool, higher is better; None where rows have no score of their own.
        why: one line for the person.
        reasons: of each row of the whole pool [N], why it is kept or is not, empty where there is nothing to say; None
            where ``why`` says it all.
    """

    indices: np.ndarray
    scores: np.ndarray | None = None
    why: str = ""
    reasons: Sequence[str] | None = None

    def checked(self, pool: Examples, keep: int, *, by: str) -> Selection:
        """This selection, if it is ``keep`` different rows of ``pool``; else a GuardError that names who made it."""
        indices = np.asarray(self.indices)
        fair = indices.ndim == 1 and np.issubdtype(indices.dtype, np.integer)
        if not fair or len(indices) != keep or len(set(indices.tolist())) != keep \
                or (keep and not 0 <= indices.min() <= indices.max() < len(pool)):
            raise GuardError(f"the selector did not keep {keep} different rows of {len(pool)}", where=by,
                             why=f"it gave {indices.dtype} {list(indices.shape)}: {indices.ravel()[:5].tolist()}",
                             fix=_FIX)
        for name, told in (("scores", self.scores), ("reasons", self.reasons)):
            if told is not None and len(told) != len(pool):
                raise GuardError(f"the selector gave {len(told)} {name} for {len(pool)} rows", where=by, fix=_FIX)
        return self


class Selector(Method):
    """Keeps some examples of a pool. A selector is a function of signals and draws nothing but by ``seed``."""

    family: ClassVar[str] = "selection"
    verb: ClassVar[str] = "select"

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        """``keep`` rows of ``pool``.

        Args:
            pool: what is chosen from.
            keep: how many, at most ``len(pool)``.
            signals: of the pool and the target, computed when first asked for.
            target: examples of what the model is to be good at, where the method needs some.
            seed: of every random choice.
        """
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes over each row of the pool, those that its signals need included."""
        raise NotImplementedError
