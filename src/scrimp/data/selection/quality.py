"""Selectors that learn from examples of what is good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.data.selection.outoffold import out_of_fold
from scrimp.data.selection.scored import Scored, whole_text

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Quality"]


class Quality(Scored):
    """Score a row by how well a classifier can take it for one of the target's.

    ``score = p(target | row)`` by logistic regression that tells the target's rows from those of the pool. Each part of
    the pool is scored by a classifier that was fitted on the others, so that no row is known as one of the pool's.

    On n-grams: Li et al. 2024, "DataComp-LM: In Search of the Next Generation of Training Sets for Language Models"; on
    the embeddings of a network: Fang et al. 2024, "Data Filtering Networks". With rows ``apart``, the best first and
    none that is near to one already kept: Liu et al. 2024, "What Makes Good Data for Alignment? A Comprehensive Study
    of Automatic Data Selection in Instruction Tuning", whose two scores come from rankings by a strong model, where
    this one comes from a target.

    Attributes:
        features: "embeddings", or weighted "ngrams" of one and two words.
        folds: parts of the pool.
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    features: Literal["embeddings", "ngrams"] = "embeddings"
    folds: int = Field(default=5, ge=2)

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        if target is None or len(target) < 2:
            raise OptionError("this method learns what is good from a target of at least two rows", where="target",
                              fix="give some examples of what the model is to be good at")
        if self.features == "embeddings":
            features: Any = np.concatenate([self.embedded(rows, signals) for rows in (pool, target)])
        else:
            features = ngrams([whole_text(row) for row in (*pool.rows, *target.rows)])
        wanted = np.repeat([0, 1], [len(pool), len(target)])
        return out_of_fold(features, wanted, folds=self.folds, seed=seed)[:len(pool), 1]

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0} if self.features == "embeddings" else {}


def ngrams(texts: Sequence[str]) -> Any:
    """Sparse rows of unit length: words and pairs of words, the rarer the heavier."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+").fit_transform(texts).tocsr()


preset("quality-classifier", Quality, papers=(458,), features="ngrams")
preset("filter-network", Quality, papers=(73,))
preset("deita", Quality, papers=(220,), apart=0.1)
