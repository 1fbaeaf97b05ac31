"""The same share of each label, whatever the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrimp.core.errors import OptionError
from scrimp.data.selection.base import Selection, Selector
from scrimp.examples.records import Examples, Layout

if TYPE_CHECKING:
    from scrimp.signals import Signals

__all__ = ["quotas", "within_labels"]


def within_labels(method: Selector, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
                  seed: int = 0) -> Selection:
    """What ``method`` keeps of each label's rows alone, as many as the label's share of the pool; the best first.

    Scores are those that the method gives a row among its own label's rows.

    Raises:
        OptionError: if the rows have no labels.
    """
    if pool.layout is not Layout.LABEL:
        raise OptionError(f"{pool.layout} rows have no labels to balance", where="balanced", fix="leave it out")
    labels = np.array([row["label"] for row in pool.rows])
    parts: dict[str, tuple[np.ndarray, Selection]] = {}
    counts = quotas([int((labels == label).sum()) for label in pool.labels], keep)
    for label, count in zip(pool.labels, counts, strict=True):
        rows = np.flatnonzero(labels == label)
        own = pool.subset(rows.tolist())
        found = method.select(own, count, signals=signals, target=target, seed=seed)
        parts[label] = rows, found.checked(own, count, by=f"{type(method).__name__} among the rows of '{label}'")
    kept = np.concatenate([rows[found.indices] for rows, found in parts.values()])
    places = np.concatenate([(np.arange(n) + 0.5) / max(n, 1) for n in (len(one.indices) for _, one in parts.values())])
    reasons = _reasons(parts, len(pool))
    return Selection(kept[np.argsort(places, kind="stable")], scores=_scores(parts, len(pool)), reasons=reasons,
                     why=f"of each of {len(parts)} labels the same share; {reasons[int(kept[0])] if keep else ''}")


def quotas(sizes: list[int], keep: int) -> list[int]:
    """``keep`` shared out in proportion to ``sizes``; what is left over goes to the largest remainders."""
    exact = np.array(sizes) * keep / max(sum(sizes), 1)
    given = np.floor(exact).astype(int)
    given[np.argsort(given - exact, kind="stable")[:keep - given.sum()]] += 1
    return [int(count) for count in given]


def _scores(parts: dict[str, tuple[np.ndarray, Selection]], rows: int) -> np.ndarray | None:
    scores = np.full(rows, np.nan)
    for places, found in parts.values():
        if found.scores is None:
            return None
        scores[places] = found.scores
    return scores


def _reasons(parts: dict[str, tuple[np.ndarray, Selection]], rows: int) -> list[str]:
    reasons = [""] * rows
    for label, (places, found) in parts.items():
        for row, reason in zip(places.tolist(), found.reasons or [found.why] * len(places), strict=True):
            reasons[row] = f"of '{label}' alone: {reason}"
    return reasons
