"""Running out of memory: telling it from other failures, and giving back what was freed."""

from __future__ import annotations

import ctypes

import torch

__all__ = ["is_out_of_memory", "return_freed"]


def is_out_of_memory(error: BaseException) -> bool:
    """Torch has a class for this on accelerators; its CPU allocator raises a RuntimeError that only says so."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def return_freed() -> None:
    """Hand freed memory back to the system, since a budget is of what is resident. Only glibc keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
