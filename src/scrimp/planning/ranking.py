"""Which source or model to begin with, told before anything is trained: by embeddings, and by what a model says."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from scrimp.core.errors import DataError
from scrimp.core.registry import Method, preset

__all__ = ["Alignment", "MeanEmbedding", "Ranker", "Ranking"]


@dataclass(frozen=True)
class Ranking:
    """Candidates, the most promising first, and the score of each; higher is better."""

    order: tuple[str, ...]
    scores: Mapping[str, float]


class Ranker(Method, abc.ABC):
    """Base of all: ranks candidates for a target."""

    family: ClassVar[str] = "ranking"
    verb: ClassVar[str] = "rank"

    def rank(self, target: np.ndarray, candidates: Mapping[str, np.ndarray]) -> Ranking:
        """The candidates in order.

        Args:
            target: what is known of the target; see the method's page.
            candidates: of each by its name, what the method's page says.

        Raises:
            DataError: if there are none, or numbers are missing or do not fit together.
        """
        if not candidates:
            raise DataError("there is nothing to rank")
        wanted = np.asarray(target)
        scores = {name: self.score(wanted, self._checked(name, one)) for name, one in candidates.items()}
        return Ranking(tuple(sorted(scores, key=lambda name: -scores[name])), scores)

    @abc.abstractmethod
    def score(self, target: np.ndarray, candidate: np.ndarray) -> float:
        """How promising a candidate is."""

    @staticmethod
    def _checked(name: str, rows: np.ndarray) -> np.ndarray:
        found = np.asarray(rows, dtype=np.float64)
        if found.ndim != 2 or not len(found) or not np.isfinite(found).all():
            raise DataError("a candidate is a matrix of finite numbers, with a row at least", where=name)
        return found


class MeanEmbedding(Ranker):
    """Sources of data by how near the mean of their rows' embeddings is to that of the target's.

    The target and each candidate are sentence embeddings [N, D]; the cosine of their means is the score. Of the proxies
    that need no training on the candidates this did as well as tuning on a few rows of each. Poth et al. 2021, "What to
    Pre-Train on? Efficient Intermediate Task Selection".

    Attributes:
        size: power of a candidate's number of rows by which its score is multiplied; 0 leaves it out.
    """

    size: float = Field(default=0.0, ge=0)

    def score(self, target: np.ndarray, candidate: np.ndarray) -> float:
        if target.ndim != 2 or target.shape[1] != candidate.shape[1]:
            raise DataError(f"the target is {target.shape}, a candidate {candidate.shape}",
                            fix="embed both with the same encoder")
        here, there = target.mean(axis=0), candidate.mean(axis=0)
        cosine = float(here @ there / max(np.linalg.norm(here) * np.linalg.norm(there), 1e-12))
        return cosine * len(candidate) ** self.size


class Alignment(Ranker):
    """Models, seen from outside, by whether they tell apart what the target tells apart.

    Each candidate is what a model says of the target's rows (outputs or features [N, C]); the target is what is known
    of the same rows: labels [N], or their embeddings [N, D]. Which rows the model takes to be alike is set beside which
    ones are, by the centred alignment of both matrices of products. "Know2Vec: A Black-Box Proxy for Neural Network
    Retrieval" (2024) compares the same two things, and learns the space in which it does so from many pairs of tasks
    and models; here nothing is learned.

    Attributes:
        relation: "labels" are alike if they are equal, "embeddings" by their products.
    """

    relation: Literal["labels", "embeddings"] = "labels"

    def score(self, target: np.ndarray, candidate: np.ndarray) -> float:
        if len(target) != len(candidate) or (self.relation == "labels") != (target.ndim == 1):
            raise DataError(f"the target is {target.shape}, a candidate says {candidate.shape} of it",
                            fix="give what each model says of the target's own rows")
        alike = (target[:, None] == target[None]).astype(float) if self.relation == "labels" else target @ target.T
        wanted, said = _centred(alike), _centred(candidate @ candidate.T)
        return float((wanted * said).sum() / max(np.linalg.norm(wanted) * np.linalg.norm(said), 1e-12))


def _centred(products: np.ndarray) -> np.ndarray:
    """Products of rows less their mean, which no constant changes."""
    centred: np.ndarray = products - products.mean(axis=0) - products.mean(axis=1, keepdims=True) + products.mean()
    return centred


preset("mean-embedding", MeanEmbedding, papers=(261,))
preset("alignment", Alignment, papers=(480,))
