"""What prompts begin with in common: found, computed once, and gone on from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["cache_of", "repeated", "shared_beginning"]


def shared_beginning(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all prompts begin with; at least one of each prompt is left over."""
    rows = [list(prompt) for prompt in prompts]
    first, last, most = min(rows), max(rows), min(map(len, rows)) - 1  # what the first and the last share, all share
    return first[:next((i for i in range(most) if first[i] != last[i]), most)]


def cache_of(loaded: Any, beginning: list[int]) -> Any:
    """The keys and values of a causal model's tokens; None of no tokens."""
    if not beginning:
        return None
    ids = torch.tensor([beginning], device=loaded.model.device)
    return loaded.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values


def repeated(cache: Any, rows: int) -> Any:
    """A copy for so many rows, which a model may write to."""
    found = copy.deepcopy(cache)
    if found is not None:
        found.batch_repeat_interleave(rows)
    return found
