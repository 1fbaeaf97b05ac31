"""A selector that leaves out rows whose label is likely to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.data.selection.outoffold import out_of_fold
from scrimp.data.selection.scored import Scored
from scrimp.examples.records import Layout

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["LabelNoise", "label_margins"]


class LabelNoise(Scored):
    """Score a labelled row by how much more its label is believed than any other one.

    Probabilities come from logistic regression on embeddings, each fold's from a fit on the others. The classifier
    believes in some labels more than in others, so each is measured by the mean ``t_k`` of what it gives to rows of
    that label: ``score = (p_y - t_y) - max over k != y of (p_k - t_k)``. Rows that confident learning counts as errors
    have negative scores.

    Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".

    Attributes:
        folds: parts of the pool.
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    folds: int = Field(default=5, ge=2)

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        if pool.layout is not Layout.LABEL:
            raise OptionError("only labels can be wrong labels", where="layout", fix="give texts with labels")
        if len(pool.labels) < 2:
            return np.zeros(len(pool))
        given = np.array([pool.labels.index(row["label"]) for row in pool.rows])
        return label_margins(out_of_fold(self.embedded(pool, signals), given, folds=self.folds, seed=seed), given)

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0}


def label_margins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much more each row's label is believed than the next, float64 [N], of probabilities [N, C] out of fold.

    Each of the C labels is that of some row.
    """
    rows = np.arange(len(labels))
    usual = np.array([probabilities[labels == k, k].mean() for k in range(probabilities.shape[1])])
    belief = probabilities - usual
    own = belief[rows, labels]
    belief[rows, labels] = -np.inf
    return own - belief.max(axis=1)


preset("label-noise", LabelNoise)
