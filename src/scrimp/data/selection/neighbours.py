"""The nearest rows of each row, by the cosine of their embeddings, found among the cells around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from scrimp.data.selection.cells import cells, unit

if TYPE_CHECKING:
    import torch

__all__ = ["nearest"]

_ROWS = 1000         # of a cell, about
_BLOCK = 1 << 24     # elements of the largest [rows, rows] block: 64 MiB in float32


def nearest(vectors: np.ndarray, count: int, *, probes: int = 6, seed: int = 0) -> csr_array:
    """The cosines of each row with the ``count`` rows nearest to it, itself among them.

    An inverted file: rows lie in cells of about a thousand, and those of a cell are compared with the rows of the
    ``probes`` cells whose centroids are nearest to its own. Time grows with ``N * probes``, not with ``N * N``; memory
    is that of the rows in 16 bits, of one block of cosines and of what is found.

    Args:
        vectors: [N, D], which may lie on disk.
        count: at most ``N``.
        probes: cells looked into; more of them find more of the nearest.
        seed: of the sample from which the cells are learned.

    Returns:
        Float32 [N, N], not negative, ``count`` entries a row; the last are zero where fewer were seen.
    """
    import torch

    dealt = cells(vectors, -(-len(vectors) // _ROWS), seed=seed)
    order = np.argsort(dealt.of, kind="stable")
    stored = _stored(vectors, order)
    parts = stored.split(np.bincount(dealt.of).tolist())
    places = torch.from_numpy(order.astype(np.int32)).split([len(part) for part in parts])
    centroids = torch.from_numpy(dealt.centroids)
    around = (centroids @ centroids.T).topk(min(probes, len(parts))).indices.tolist()
    columns = torch.arange(len(vectors), dtype=torch.int32)[:, None].repeat(1, count)
    cosines = torch.zeros(len(vectors), count)
    for cell, beside in enumerate(around):
        others, names = torch.cat([parts[c] for c in beside]).float(), torch.cat([places[c] for c in beside])
        step, found = max(1, _BLOCK // len(others)), min(count, len(others))
        for part, rows in zip(parts[cell].split(step), places[cell].long().split(step), strict=True):
            best = (part.float() @ others.T).topk(found, sorted=False)
            cosines[rows, :found], columns[rows, :found] = best.values.clamp(0, 1), names[best.indices]
    starts = np.arange(len(vectors) + 1) * count
    return csr_array((cosines.numpy().ravel(), columns.numpy().ravel(), starts), shape=(len(vectors), len(vectors)))


def _stored(vectors: np.ndarray, order: np.ndarray) -> torch.Tensor:
    """Unit vectors in ``order``, float16."""
    import torch

    made = torch.empty(vectors.shape, dtype=torch.float16)
    for at in range(0, len(order), _BLOCK // 1024):
        made[at:at + _BLOCK // 1024] = torch.from_numpy(unit(vectors[order[at:at + _BLOCK // 1024]])).half()
    return made
