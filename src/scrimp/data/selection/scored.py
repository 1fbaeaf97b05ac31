"""Selectors that give each row a score, and the rules by which scores become a selection."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from scrimp.core.registry import Cost, preset
from scrimp.data.selection.base import Selection, Selector
from scrimp.examples.records import input_text

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Length", "Scored", "answer_text", "best_of_each", "far_apart", "in_order", "whole_text"]

Rule = Literal["highest", "lowest", "middle", "sample"]


class Scored(Selector):
    """Keeps rows by a score that each has of its own.

    A scorer implements `score` and `passes`; what becomes of scores is the same for all: a rule puts the rows in order,
    the best of rows that share a prompt or an answer goes before the rest of them, and rows that are too near to one
    that is kept already wait until there are no others.

    Attributes:
        rule: "highest" or "lowest" scores first, "middle" those nearest to the median first, "sample" by chance, the
            more likely the higher.
        temperature: of "sample": a row's chance grows as ``exp(z / temperature)`` with its standardised score z.
        each: of all rows with the same "prompt" or "answer" the best is kept before a second one; "row" compares none.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    rule: Rule = "highest"
    temperature: float = Field(default=1.0, gt=0)
    each: Literal["row", "prompt", "answer"] = "row"
    apart: float = Field(default=0.0, ge=0, le=2)

    def select(self, pool: Examples, keep: int, *, signals: Signals, target: Examples | None = None,
               seed: int = 0) -> Selection:
        if not len(pool):
            return Selection(np.zeros(0, dtype=np.int64), np.zeros(0), why="there are no rows")
        scores = np.asarray(self.score(pool, signals=signals, target=target, seed=seed), dtype=np.float64)
        better, order = in_order(scores, self.rule, self.temperature, seed)
        if self.each != "row":
            order = best_of_each(order, list(map(input_text if self.each == "prompt" else answer_text, pool.rows)))
        if self.apart:
            order = far_apart(order, self.embedded(pool, signals), keep, self.apart)
        return Selection(order[:keep], better, why=self._why(scores, order[:keep]))

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        """A finite number for each row, [N]."""
        raise NotImplementedError

    def passes(self) -> dict[str, float]:
        """Which signals `score` reads -> passes that it takes over each row of the pool."""
        raise NotImplementedError

    def embedded(self, rows: Examples, signals: Signals) -> np.ndarray:
        """Embeddings of whole rows, brought to unit length, float64 [N, D]."""
        vectors = signals.embeddings([{"text": whole_text(row)} for row in rows.rows]).astype(np.float64)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def cost(self) -> Cost:
        apart = {"embeddings": 1.0} if self.apart else {}
        return Cost(forward=sum({**apart, **self.passes()}.values()))

    def _why(self, scores: np.ndarray, kept: np.ndarray) -> str:
        if not len(kept):
            return f"{self.rule} of the scores"
        (low, high), (least, most) = ((s.min(), s.max()) for s in (scores[kept], scores))
        return f"{self.rule} of the scores: {low:.3g} to {high:.3g}, where all rows have {least:.3g} to {most:.3g}"


class Length(Scored):
    """Score a row by the length of its answer, in characters: the control that every judge of quality has to beat.

    Of a text, labelled or not, it is the text's. Zhao et al. 2024, "Long Is More for Alignment: A Simple but
    Tough-to-Beat Baseline for Instruction Fine-Tuning".

    Attributes:
        rule: "highest", "lowest", "middle" or "sample": which scores are kept.
        temperature: of "sample".
        each: "prompt" or "answer": of rows that share it the best comes first.
        apart: least cosine distance between the embeddings of rows that are kept.
    """

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        return np.array([len(row["text"] if "text" in row else answer_text(row)) for row in pool.rows], dtype=float)

    def passes(self) -> dict[str, float]:
        return {}


def in_order(scores: np.ndarray, rule: Rule, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How good the rule finds each row, and all rows, the best first; of equal ones the first goes before.

    "sample" adds noise of Gumbel's distribution, so that rows come in the order in which they would be drawn without
    putting them back: Kool, van Hoof and Welling 2019, "Stochastic Beams and Where to Find Them".
    """
    if rule == "middle":
        from scipy.stats import rankdata

        better = -np.abs(rankdata(scores) - (len(scores) + 1) / 2)
    else:
        better = -scores if rule == "lowest" else scores
    drawn = better
    if rule == "sample":
        noise = np.random.default_rng(seed).gumbel(size=len(scores))
        drawn = (scores - scores.mean()) / (temperature * max(scores.std(), 1e-12)) + noise
    return better, np.argsort(-drawn, kind="stable")


def best_of_each(order: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """``order`` with the first row of each group before all second ones, these before all third ones, and so on."""
    seen: dict[Hashable, int] = {}
    places = np.zeros(len(order), dtype=np.int64)
    for place, row in enumerate(order.tolist()):
        places[place] = seen[groups[row]] = seen.get(groups[row], -1) + 1
    return order[np.argsort(places, kind="stable")]


def far_apart(order: np.ndarray, vectors: np.ndarray, keep: int, apart: float) -> np.ndarray:
    """``order`` with those rows first that are at least ``apart`` from all before them, until ``keep`` are found.

    Args:
        order: rows, the best first.
        vectors: of unit length [N, D]; the distance is one less the cosine.
        keep: how many are needed.
        apart: the least distance.
    """
    near = np.empty((min(keep, len(order)), vectors.shape[1]))
    far: list[int] = []
    for row in order.tolist():
        if len(far) == len(near):
            break
        if not far or float((near[:len(far)] @ vectors[row]).max()) <= 1 - apart:
            near[len(far)] = vectors[row]
            far.append(row)
    return np.concatenate([np.array(far, dtype=np.int64), order[~np.isin(order, far)]])


def answer_text(row: Mapping[str, Any]) -> str:
    """What a row answers: its completion, chosen answer or label, or all messages of the assistant; else nothing."""
    if "messages" in row:
        return "\n".join(m.get("content") or "" for m in row["messages"] if m["role"] == "assistant")
    return next((row[key] for key in ("completion", "chosen", "label") if key in row), "")


def whole_text(row: Mapping[str, Any]) -> str:
    """What a row asks and answers; of a labelled text the text alone."""
    return row["text"] if "text" in row else f"{input_text(row)}\n{answer_text(row)}"


preset("longest", Length)
