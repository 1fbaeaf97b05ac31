"""How the rungs are judged against each other without the test rows: on the same rows, none of them trained on."""

from __future__ import annotations

from dataclasses import dataclass

from scrimp.examples import splits
from scrimp.examples.records import Examples

__all__ = ["FOLDS", "Protocol", "choose", "everything", "folded", "held_out"]

_MOST_FOLDED = 1000
_MOST_HELD_OUT = 400
_HELD_OUT = 0.2
FOLDS = (5, 3, 2)  #: the most thorough first


@dataclass(frozen=True)
class Protocol:
    """A plan of who is trained on what and judged on what.

    Attributes:
        parts: pairs of (rows to train on, rows to judge on); the rows judged on are disjoint.
        refit: whether the winner is trained once more on all rows; otherwise the one part's model is kept.
        words: how to say it.
    """

    parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    refit: bool
    words: str

    @property
    def judged(self) -> list[int]:
        """The rows that are judged on, in the order in which they stand."""
        return sorted(i for _, rows in self.parts for i in rows)

    def trainings(self, total: int) -> list[int]:
        """Rows of each training in turn, of ``total`` rows in all: that of the model that is kept comes first."""
        return ([total] if self.refit else []) + [len(rows) for rows, _ in self.parts]


def choose(train: Examples, *, folds: bool, seed: int) -> Protocol:
    """The most thorough protocol for so many rows.

    Args:
        train: the rows.
        folds: whether there is time to train the ways on several parts, where the rows are not too many for it.
        seed: of the parting.
    """
    total = len(train)
    if folds and total <= _MOST_FOLDED:
        for k in FOLDS:
            if k <= total // 2:
                return folded(train, k, seed)
    return held_out(train, seed) if total >= 10 else everything(train)


def everything(train: Examples) -> Protocol:
    """Train on all rows and judge on none."""
    return Protocol(((tuple(range(len(train))), ()),), refit=False, words="the test alone")


def folded(train: Examples, k: int, seed: int) -> Protocol:
    """Judge all on all rows, each by a model that was trained on the other parts."""
    parts = splits.folds(train, k, seed=seed)
    return Protocol(tuple((tuple(a), tuple(b)) for a, b in parts), refit=True,
                    words=f"{k}-fold cross-validation on the {len(train)} training rows")


def held_out(train: Examples, seed: int) -> Protocol:
    """Judge all on the same part of the rows; it is trained on by none."""
    share = min(_HELD_OUT, _MOST_HELD_OUT / len(train))
    learned, judged = (_positions(train, side) for side in splits.split(train, share, seed=seed))
    return Protocol(((tuple(learned), tuple(judged)),), refit=False,
                    words=f"{len(judged)} training rows held out, the same for all")


def _positions(whole: Examples, side: Examples) -> list[int]:
    wanted = set(side.sources)
    return [i for i, source in enumerate(whole.sources) if source in wanted]
