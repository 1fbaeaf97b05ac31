"""Rows of tokens as a forest: what rows begin with in common is in it once.

A row is a path from a root to a node. A node's tokens follow each other and see those of the nodes above it, and each
of its own up to themselves; nodes beside each other do not see each other. Computed so, all rows give the states that
they would have one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np

__all__ = ["Forest", "Node", "in_portions"]

_WORTH = 16  # tokens that rows must share beyond what they share anyway: a node of its own has a price


@dataclass(frozen=True)
class Node:
    """Tokens of a forest from ``start`` to ``end``, which see those of ``above`` too, (start, end) each."""

    start: int
    end: int
    above: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Forest:
    """Tokens of rows, each once.

    Attributes:
        ids: int64 [T].
        positions: int64 [T], of each token in its rows.
        nodes: in the order of their tokens; a node stands after those above it.
        places: for each row int64 [its length], where its tokens are.
    """

    ids: np.ndarray
    positions: np.ndarray
    nodes: tuple[Node, ...]
    places: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, rows: Sequence[np.ndarray], *, shared: bool = True) -> Forest:
        """The forest of rows int64 [length], none of them empty; without ``shared`` each is a tree of its own."""
        order = _alphabetical(rows) if shared else range(len(rows))
        nodes: list[Node] = []
        ids: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        places: dict[int, np.ndarray] = {}
        size = 0
        for branch in _branches([rows[i] for i in order], shared):
            above = tuple((nodes[n].start, nodes[n].end) for n in branch.above)
            node = Node(size, size + len(branch.ids), above)
            nodes.append(node)
            ids.append(branch.ids)
            positions.append(branch.position + np.arange(len(branch.ids)))
            size = node.end
            for row in branch.ending:
                spans = [*above, (node.start, node.end)]
                places[order[row]] = np.concatenate([np.arange(*span) for span in spans])
        return cls(np.concatenate(ids), np.concatenate(positions), tuple(nodes),
                   tuple(places[i] for i in range(len(rows))))


@dataclass
class _Branch:
    ids: np.ndarray
    position: int
    above: tuple[int, ...]
    ending: list[int]


def _alphabetical(rows: Sequence[np.ndarray]) -> list[int]:
    """Rows that begin alike stand together, a row before those that go on from it."""
    return sorted(range(len(rows)), key=lambda i: (rows[i].tolist(), i))


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Tokens that two rows begin with in common."""
    short = min(len(a), len(b))
    differing = np.flatnonzero(a[:short] != b[:short])
    return int(differing[0]) if len(differing) else short


def _branches(rows: list[np.ndarray], shared: bool) -> Iterator[_Branch]:
    """The nodes of sorted rows, each after those above it."""
    alike = [_common(a, b) if shared else 0 for a, b in pairwise(rows)]
    yield from _split(rows, alike, 0, len(rows), 0, (), count())


def _split(rows: list[np.ndarray], alike: list[int], first: int, last: int, depth: int, above: tuple[int, ...],
           number: Iterator[int]) -> Iterator[_Branch]:
    """The nodes of ``rows[first:last]``, which share their first ``depth`` tokens, those of the nodes ``above``."""
    at = first
    while at < last:
        end = at + 1
        while end < last and alike[end - 1] >= depth + _WORTH:
            end += 1
        until = len(rows[at]) if end == at + 1 else min(alike[at:end - 1])
        mine = next(number)
        ending = [row for row in range(at, end) if len(rows[row]) == until]
        yield _Branch(rows[at][depth:until], depth, above, ending)
        yield from _split(rows, alike, at + len(ending), end, until, (*above, mine), number)
        at = end


def in_portions(rows: Sequence[np.ndarray], sizes: Sequence[int], tokens: int, *,
                shared: bool = True) -> list[list[int]]:
    """Rows in as few portions as forests of about ``tokens`` tokens at most allow, and these as even as may be.

    A row that is larger stands alone. Rows that begin alike come into one portion; the largest portion comes first,
    since it needs most memory.

    Args:
        rows: int64 [length] each.
        sizes: tokens of each row, with those of what belongs to it.
        tokens: of a portion.
        shared: whether what rows begin with in common is computed once.
    """
    order = _alphabetical(rows) if shared else sorted(range(len(rows)), key=lambda i: (-sizes[i], i))
    alike = [0, *(_common(rows[a], rows[b]) if shared else 0 for a, b in pairwise(order))]
    ordered = [(i, sizes[i], common) for i, common in zip(order, alike, strict=True)]
    fewest = len(_filled(ordered, tokens))
    most = bisect_left(range(tokens), True, key=lambda limit: len(_filled(ordered, limit)) <= fewest)
    return [members for _, members in sorted(_filled(ordered, most), key=lambda portion: -portion[0])]


def _filled(rows: Sequence[tuple[int, int, int]], tokens: int) -> list[tuple[int, list[int]]]:
    """Sizes and rows of portions filled one after the other, of (row, its size, what it shares with the one before)."""
    portions: list[tuple[int, list[int]]] = []
    for i, size, common in rows:
        if portions and portions[-1][0] + size - common <= tokens:
            portions[-1] = portions[-1][0] + size - common, [*portions[-1][1], i]
        else:
            portions.append((size, [i]))
    return portions
