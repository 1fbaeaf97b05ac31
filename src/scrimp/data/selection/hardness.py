"""A selector that has few rows judged and learns which of the others are as hard."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrimp.core.options import Fraction
from scrimp.core.registry import preset
from scrimp.data.selection.likelihood import totals
from scrimp.data.selection.outoffold import probabilities
from scrimp.data.selection.scored import Scored

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Hardness", "hardness"]


class Hardness(Scored):
    """Score a row by how hard it looks, having seen how hard the model finds a few.

    A judge calls a row hard if the language model's loss on its answer is high. It first judges rows near to the
    centres of clusters; in each later round a classifier of embeddings, fitted on all that was judged, proposes those
    that it believes to be hard. ``score = weight p(hard | row) + (1 - weight) max cosine(row, one judged hard)``.

    Song et al. 2025, "IterSelectTune: An Iterative Training Framework for Efficient Instruction-Tuning Data Selection",
    where GPT-4 compares the model's answer with the given one, and the classifier is a tuned encoder.

    Attributes:
        judged: share of the pool that is judged, in all rounds; at least two rows.
        rounds: in which they are.
        weight: of the classifier; the rest is the similarity's.
        threshold: the least loss of a hard row, in nats a token; None is the median of those judged first.
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    judged: Fraction = 0.1
    rounds: int = Field(default=3, ge=1)
    weight: float = Field(default=0.5, ge=0, le=1)
    threshold: float | None = None

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        loaded = signals.language()
        encoded = signals.encoded(pool, loaded)

        def judge(rows: np.ndarray) -> np.ndarray:
            found = signals.losses(loaded.model, [encoded[i] for i in rows.tolist()])
            return -totals([row.log_probability for row in found]) / [max(len(row.log_probability), 1) for row in found]

        count = min(max(2, math.ceil(self.judged * len(pool))), len(pool))
        return hardness(self.embedded(pool, signals), judge, count, rounds=self.rounds, weight=self.weight,
                        threshold=self.threshold, seed=seed)

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0, "losses": self.judged}


def hardness(vectors: np.ndarray, judge: Callable[[np.ndarray], np.ndarray], count: int, *, rounds: int, weight: float,
             threshold: float | None, seed: int) -> np.ndarray:
    """Of each row of unit ``vectors`` [N, D], in [0, 1], from what ``judge`` says of ``count`` rows.

    Args:
        vectors: of all rows.
        judge: rows -> their losses.
        count: rows that are judged; each once.
        rounds, weight, threshold: see `Hardness`.
        seed: of clusters and classifier.
    """
    known, losses = np.zeros(0, dtype=np.int64), np.zeros(0)
    likely = np.zeros(len(vectors))
    for part in np.array_split(np.arange(count), min(rounds, count)):
        if not len(known):
            asked = central(vectors, len(part), seed)
        else:
            asked = np.setdiff1d(np.argsort(-likely, kind="stable"), known, assume_unique=True)[:len(part)]
        known, losses = np.concatenate([known, asked]), np.concatenate([losses, judge(asked)])
        threshold = float(np.median(losses)) if threshold is None else threshold
        hard = losses > threshold
        likely = probabilities(vectors[known], hard.astype(np.int64), vectors, 2, seed=seed)[:, 1] \
            if 0 < hard.sum() < len(hard) else np.full(len(vectors), float(hard.all()))
    near = (vectors @ vectors[known[hard]].T).max(axis=1, initial=0.0)
    return weight * likely + (1 - weight) * near


def central(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` rows: of as many clusters the ones nearest to the centres; where clusters share one, any others."""
    from sklearn.cluster import MiniBatchKMeans

    centres = MiniBatchKMeans(count, random_state=seed, n_init=1).fit(vectors).cluster_centers_
    chosen = np.unique((centres @ vectors.T - (centres ** 2).sum(axis=1, keepdims=True) / 2).argmax(axis=1))
    others = np.setdiff1d(np.random.default_rng(seed).permutation(len(vectors)), chosen, assume_unique=True)
    return np.concatenate([chosen, others[:count - len(chosen)]])


preset("iterselecttune", Hardness, papers=(281,))
