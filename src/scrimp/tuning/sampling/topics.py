"""Steps of examples of one topic, which are hard to tell apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.tuning.sampling.base import Feed, Planned, Sampling, cut

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Topics", "token_topics"]


class Topics(Sampling):
    """Fill every step with examples of one topic, and with as many of each margin where margins are known.

    For objectives that compare the examples of a step: those of one topic are the hardest to tell apart. Hofstätter et
    al. 2021, "Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling", where topics are
    clusters of queries, and a margin is how much a teacher prefers the right one of two passages.

    Without margins each example comes once an epoch; with them, those of a step are drawn so that each of ``bins`` of
    equal width between the lowest and the highest margin is as likely.

    Attributes:
        topics: how many are looked for; None for the square root of the examples.
        topic_of: the topic of each row of the data, in the data's order; without it, k-means finds them by the tokens
            that rows ask, the rarer the heavier.
        margins: of each row of the data, in the data's order.
        bins: of margins.
    """

    topics: int | None = Field(default=None, ge=1)
    topic_of: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()
    bins: int = Field(default=10, ge=1)

    def feed(self, rows: Sequence[Encoded], *, batch_size: int, seed: int) -> Feed:
        of = self._told("topic_of", self.topic_of, rows) if self.topic_of else \
            token_topics(rows, self.topics or round(len(rows) ** 0.5), seed=seed)
        groups, weights = [np.flatnonzero(of == topic) for topic in np.unique(of)], self._weights(rows)

        def epoch(number: int) -> list[list[int]]:
            rng = np.random.default_rng([seed, number])
            steps = [(group, step) for group in groups for step in cut(rng.permutation(group).tolist(), batch_size)]
            return [self._drawn(group, step, weights, rng)
                    for group, step in (steps[place] for place in rng.permutation(len(steps)))]

        return Planned(epoch)

    def _drawn(self, group: np.ndarray, step: list[int], weights: np.ndarray | None,
               rng: np.random.Generator) -> list[int]:
        """The step, or as many examples of its topic by their margins."""
        if weights is None:
            return step
        return rng.choice(group, len(step), replace=False, p=weights[group] / weights[group].sum()).tolist()

    def _weights(self, rows: Sequence[Encoded]) -> np.ndarray | None:
        """Of each example, the inverse of how many have margins like its own; None where none are known."""
        if not self.margins:
            return None
        margins = self._told("margins", self.margins, rows)
        bins = np.digitize(margins, np.linspace(margins.min(), margins.max(), self.bins + 1)[1:-1])
        return 1 / np.bincount(bins)[bins]

    def _told(self, option: str, values: Sequence[float], rows: Sequence[Encoded]) -> np.ndarray:
        if (last := max(row.row for row in rows)) >= len(values):
            raise OptionError(f"row {last} of the data has none", where=option, why=f"{len(values)} are given",
                              fix="give one for each row of the data")
        return np.array([values[row.row] for row in rows])


def token_topics(rows: Sequence[Encoded], count: int, *, seed: int) -> np.ndarray:
    """A topic for each row, int [N], at most ``count``: by the tokens before its answer, else by all of them."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer

    asked = [[token for token, learned in zip(row.ids, row.trained, strict=True) if not learned] for row in rows]
    words = [some or row.ids for some, row in zip(asked, rows, strict=True)]
    counts = TfidfVectorizer(analyzer=list, sublinear_tf=True).fit_transform(words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than topics: some stay empty
        found: np.ndarray = KMeans(min(count, len(rows)), n_init=1, random_state=seed).fit_predict(counts)
    return found


preset("topics", Topics, papers=(83,))
