"""The same seed, the same run: random states taken, put back and seeded, and deterministic kernels where free."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["RandomState", "reproducible"]


@dataclass(frozen=True)
class RandomState:
    """The states of torch's, numpy's and Python's generators: tensors, and what JSON holds."""

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]

    @classmethod
    def now(cls) -> RandomState:
        """The states of this moment."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        _, keys, *position = np.random.get_state()
        version, words, gauss = random.getstate()
        return cls({"cpu": torch.get_rng_state(), **{f"cuda.{i}": state for i, state in enumerate(cuda)}},
                   {"numpy": [np.asarray(keys).tolist(), *position], "python": [version, list(words), gauss]})

    def put_back(self) -> None:
        """Make these the states again."""
        torch.set_rng_state(self.tensors["cpu"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all([self.tensors[f"cuda.{i}"] for i in range(torch.cuda.device_count())])
        keys, *position = self.facts["numpy"]
        np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), *position))
        version, words, gauss = self.facts["python"]
        random.setstate((version, tuple(words), gauss))


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Within the block all generators start from ``seed``, and on the CPU kernels are deterministic.

    Random states and settings are then as they were before.
    """
    states = RandomState.now()
    kernels: Any = torch.utils.deterministic
    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = kernels.fill_uninitialized_memory
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        kernels.fill_uninitialized_memory = False  # costs time and changes nothing that is read
    try:
        yield
    finally:
        states.put_back()
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
        kernels.fill_uninitialized_memory = fill
