"""Too little memory: told from other failures, and refused before the libraries below end the process."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

from scrimp.core.errors import BudgetError

__all__ = ["ROOM", "check_room", "is_out_of_memory", "too_little"]

ROOM = 192 << 20  #: bytes of addresses without which OpenBLAS ends the process, and oneDNN often does

#: what is said where memory is short: by torch's allocator, by oneDNN (three), by the loader of libraries
_WORDS = ("can't allocate memory", "could not create a primitive", "could not create a memory",
          "could not execute a primitive", "failed to map segment")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failure is for want of memory; most libraries have no class for that, and only say so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of an accelerator
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in _WORDS)


def too_little(error: BaseException) -> BudgetError:
    """What a person is told of such a failure where nothing smaller can be tried."""
    return BudgetError("there is not enough memory for this", why=str(error)[:200] or type(error).__name__,
                       fix="end other programs, raise the limit, or use a smaller model, batch or context")


def check_room() -> None:
    """See that the process may still take some memory; called before a library computes that does not survive a no.

    OpenBLAS calls ``exit`` when it gets no buffer, and oneDNN writes to the null pointer that it got.

    Raises:
        BudgetError: it is limited in its addresses, and less than `ROOM` of them are left.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and (left := limit - _addresses()) < ROOM:
        raise BudgetError(f"{max(left, 0) >> 20} MiB of memory are left, and {ROOM >> 20} are needed to compute at all",
                          why=f"this process is limited to {limit >> 20} MiB of addresses",
                          fix="raise the limit (ulimit -v)")


def _addresses() -> int:
    """Bytes of addresses that this process has taken; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
