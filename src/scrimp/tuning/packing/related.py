"""Related rows one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from scrimp.core.registry import preset
from scrimp.tuning.packing.base import blocks, refuse_parts
from scrimp.tuning.packing.plain import Concatenated

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Related", "path"]


class Related(Concatenated):
    """Rows one after another so that a sequence holds related ones, which then are a context for each other.

    The order is a `path` through the graph of nearest neighbours, by the cosine of tf-idf vectors of the rows' tokens:
    no model is needed. Shi et al. 2023, "In-Context Pretraining: Language Modeling Beyond Document Boundaries", who
    compare rows by a trained retriever; `path` takes vectors of any kind.

    Attributes:
        neighbours: of each row in the graph.
        pack_tokens: of a sequence.
    """

    neighbours: int = Field(default=10, ge=1)

    def pack(self, rows: Sequence[Encoded], *, seed: int) -> list[Encoded]:
        refuse_parts(rows, self.name)
        order = path(_tf_idf([row.ids for row in rows]), self.neighbours).tolist() if rows else []
        return blocks([rows[i] for i in order], self.pack_tokens)


def path(vectors: Any, neighbours: int) -> np.ndarray:
    """An order of rows in which each is followed by the most similar of its neighbours that is not in it yet.

    Where all neighbours are, it goes on with the row of the fewest neighbours, so that those are not left alone at the
    end. Two rows are neighbours if either is among the nearest of the other.

    Args:
        vectors: [N, D], an array or sparse; compared by their cosine.
        neighbours: that each row looks for.

    Returns:
        int64 [N], every row once.
    """
    from sklearn.neighbors import NearestNeighbors

    count = vectors.shape[0]
    if count < 2:
        return np.arange(count)
    search = NearestNeighbors(n_neighbors=min(neighbours, count - 1), metric="cosine", algorithm="brute").fit(vectors)
    nearest = search.kneighbors_graph(mode="distance")
    nearest.data = 3.0 - nearest.data  # a similarity of 1 to 3, for a stored 0 would be no edge
    graph = nearest.maximum(nearest.T).tocsr()
    return np.array(_walked(graph.indptr, graph.indices, graph.data), dtype=np.int64)


def _walked(starts: np.ndarray, others: np.ndarray, similarity: np.ndarray) -> list[int]:
    """The path through a graph: the neighbours of row i are ``others[starts[i]:starts[i + 1]]``."""
    order: list[int] = []
    seen = np.zeros(len(starts) - 1, dtype=bool)
    for first in np.argsort(np.diff(starts), kind="stable").tolist():
        following = first
        while not seen[following]:
            order.append(following)
            seen[following] = True
            edges = slice(starts[following], starts[following + 1])
            likeness = np.where(seen[others[edges]], -np.inf, similarity[edges])
            following = int(others[edges][likeness.argmax()])
    return order


def _tf_idf(rows: Sequence[Sequence[int]]) -> Any:
    """Tf-idf vectors of token ids, sparse [N, V]."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfTransformer

    ids, ends = np.concatenate([np.asarray(row) for row in rows]), np.cumsum([0, *map(len, rows)])
    counts = csr_matrix((np.ones(len(ids)), ids, ends), shape=(len(rows), int(ids.max()) + 1))
    counts.sum_duplicates()
    return TfidfTransformer(sublinear_tf=True).fit_transform(counts)


preset("related", Related, papers=(559,))
