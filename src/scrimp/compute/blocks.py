"""A forest's tokens as attention computes them: in blocks of queries, each with the ranges of tokens that it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from scrimp.compute.forest import Forest

__all__ = ["Block", "Blocks"]

_EVEN = 2  # keys of a range are computed by twos in bfloat16


@dataclass(frozen=True)
class Block:
    """Queries of one node from ``start`` to ``end``, and the ranges of tokens that the last of them sees.

    The last range ends at ``end``: of its own tokens each query sees those up to itself, of the others all.
    """

    start: int
    end: int
    seen: tuple[tuple[int, int], ...]


class Blocks:
    """The blocks of a forest.

    Args:
        forest: whose tokens ask.
        queries: of a block at most. Half of what a block's own tokens are computed to see is hidden from them; more
            blocks have a price each.
    """

    def __init__(self, forest: Forest, queries: int) -> None:
        self._forest, self._blocks = forest, list(_blocks(forest, queries))

    def __len__(self) -> int:
        return len(self._blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    @cached_property
    def until(self) -> torch.Tensor:
        """int64 [T], the end of what sees each token: of its node and all below that, which follow it in order."""
        found = torch.empty(len(self._forest.ids), dtype=torch.int64)
        for node in self._forest.nodes:
            found[node.start:node.end] = node.end
            for start, end in node.above:
                found[start:end] = node.end
        return found

    @cached_property
    def tables(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """int64 [blocks, 2] starts and ends; [blocks + 1] where each one's ranges begin; [ranges, 2] these."""
        first = [0]
        for block in self._blocks:
            first.append(first[-1] + len(block.seen))
        return (torch.tensor([[block.start, block.end] for block in self._blocks]), torch.tensor(first),
                torch.tensor([span for block in self._blocks for span in block.seen]))

    @cached_property
    def largest(self) -> tuple[int, int, int]:
        """How many blocks there are, and the most queries and (by twos) keys of one."""
        keys = (sum(-(-(end - start) // _EVEN) * _EVEN for start, end in block.seen) for block in self._blocks)
        return len(self), max(block.end - block.start for block in self._blocks), max(keys)


def _blocks(forest: Forest, queries: int) -> Iterator[Block]:
    for node in forest.nodes:
        for start in range(node.start, node.end, queries):
            end = min(start + queries, node.end)
            yield Block(start, end, _joined([*node.above, (node.start, end)]))


def _joined(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges that follow each other made one."""
    joined = [ranges[0]]
    for start, end in ranges[1:]:
        if start == joined[-1][1]:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return tuple(joined)
