"""Ratings of rows, mended by those of the rows around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.special import softmax

from scrimp.core.errors import OptionError
from scrimp.core.options import Fraction
from scrimp.core.registry import build, preset
from scrimp.data.selection.scored import Scored

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["CuratedRatings", "curated", "levels_of", "nearest_rows", "transition_matrix"]

_ROUNDS = 500  # of expectation and maximisation
_STILL = 1e-7  # change of a probability at which they end
_PSEUDO = 0.1  # rows of which each mistake is seen beforehand, so that nothing is impossible


class CuratedRatings(Scored):
    """Score a row by its rating, put right where the rows around it tell that it is wrong.

    Ratings are levels of another method's score. Rows that are alike deserve the same rating, so how often the ratings
    of a row and of those nearest to it go together tells the matrix ``T[true, given]`` with which they are mistaken. A
    rating is replaced where another one is surely the true one, by ``p(k | ratings) ~ p(k) T[k, own] prod_j T[k, r_j]``
    over the neighbours j. Among equal ratings, rows far from their neighbours go first.

    Pang et al. 2025, "Improving Data Efficiency via Curating LLM-Driven Rating Systems"; there a strong model rates and
    T is fitted to frequencies of pairs and triples (Zhu, Song and Liu 2021, "Clusterability as an Alternative to Anchor
    Points When Learning with Noisy Labels"). Here it is the most likely one, neighbours being taken for observers of
    one truth (Dawid and Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm").

    Attributes:
        by: the selection method whose scores are rated, one that gives each row a score.
        levels: of a rating, each for as many rows.
        neighbours: that have a say in a row's rating.
        sure: least probability with which a rating is replaced.
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    by: str = "loss"
    levels: int = Field(default=6, ge=2, le=20)
    neighbours: int = Field(default=10, ge=2)
    sure: Fraction = 0.5

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        rated = self._rater().select(pool, 0, signals=signals, target=target, seed=seed)
        assert rated.scores is not None  # as every `Scored` gives
        return rating_scores(levels_of(rated.scores, self.levels), self.embedded(pool, signals), self.levels,
                             neighbours=self.neighbours, sure=self.sure)

    def passes(self) -> dict[str, float]:
        return {**self._rater().passes(), "embeddings": 1.0}

    def _rater(self) -> Scored:
        made = build("selection", self.by)
        if not isinstance(made, Scored) or isinstance(made, CuratedRatings):
            raise OptionError(f"'{self.by}' gives rows no scores that could be rated", where="by",
                              fix="choose a method that scores rows, such as loss")
        return made


def rating_scores(ratings: np.ndarray, vectors: np.ndarray, levels: int, *, neighbours: int,
                  sure: float) -> np.ndarray:
    """Curated ratings of rows with unit ``vectors`` [N, D], and less than one step more for a row that is far out."""
    if len(ratings) < 3:
        return ratings.astype(np.float64)
    near, distance = nearest_rows(vectors, neighbours)
    mistaken, share = transition_matrix(ratings, near, levels)
    mended = curated(ratings, near, mistaken, share, sure=sure)
    return mended + np.clip(distance.mean(axis=1), 0, 2) / 2.001


def levels_of(scores: np.ndarray, levels: int) -> np.ndarray:
    """Ratings in ``range(levels)``, int64 [N]: equal shares of the rows, and equal scores on one level."""
    from scipy.stats import rankdata

    return ((rankdata(scores) - 0.5) * levels / max(len(scores), 1)).astype(np.int64)


def nearest_rows(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of unit vectors [N, D] the ``count`` nearest other rows, the nearest first, and their cosine distances."""
    from sklearn.neighbors import NearestNeighbors

    fitted = NearestNeighbors(n_neighbors=min(count, len(vectors) - 1), metric="cosine").fit(vectors)
    distance, near = fitted.kneighbors()
    return near, distance


def transition_matrix(ratings: np.ndarray, neighbours: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """``T[true, given]``, whose rows sum to one, and the share of each true rating, by maximum likelihood.

    The ratings of a row and of its neighbours are taken for opinions on one true rating, each mistaken as T says. The
    search begins where most ratings are right, which tells the true ratings from any renaming of them.

    Args:
        ratings: int64 [N] in ``range(levels)``.
        neighbours: int64 [N, at least 2].
        levels: K.
    """
    opinions = (ratings[np.column_stack([np.arange(len(ratings)), neighbours])][:, :, None] == np.arange(levels)
                ).sum(axis=1)
    mistaken = np.full((levels, levels), 0.3 / levels) + 0.7 * np.eye(levels)
    share = np.full(levels, 1 / levels)
    for _ in range(_ROUNDS):
        chance = softmax(np.log(share) + opinions @ np.log(mistaken).T, axis=1)
        before, mistaken = mistaken, _shares(chance.T @ opinions)
        share = _shares(chance.sum(axis=0))
        if np.abs(mistaken - before).max() < _STILL:
            break
    return mistaken, share


def _shares(counts: np.ndarray) -> np.ndarray:
    counts = counts + _PSEUDO
    return counts / counts.sum(axis=-1, keepdims=True)


def curated(ratings: np.ndarray, neighbours: np.ndarray, mistaken: np.ndarray, share: np.ndarray, *,
            sure: float = 0.5) -> np.ndarray:
    """Ratings [N] with those replaced that another one is the truth of with a probability of at least ``sure``.

    Args:
        ratings, neighbours: as for `transition_matrix`; all given neighbours have a say.
        mistaken, share: what `transition_matrix` found.
        sure: see `CuratedRatings`.
    """
    said = np.log(mistaken)
    chance = softmax(np.log(share) + said[:, ratings].T + said[:, ratings[neighbours]].sum(axis=2).T, axis=1)
    return np.where(chance.max(axis=1) >= sure, chance.argmax(axis=1), ratings)


preset("ds2", CuratedRatings, papers=(300,))
