"""Arms with paired seeds, in turn: all arms with the first seed, then all with the next, as long as there is time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from scrimp.core.budget import Meter
from scrimp.core.errors import BudgetError, GuardError, ScrimpError
from scrimp.core.interrupts import stop_if_requested

__all__ = ["Raced", "race"]

Found = TypeVar("Found")
Raced = dict[tuple[str, int], Found | ScrimpError]

_STARTING_S = 15.0  # of a process, and of what it loads before its own clock runs
_OF_ONE_SEED = {BudgetError, GuardError, ScrimpError}  # what another seed may do without; the last is a killed process


def race(names: Sequence[str], seeds: Sequence[int], run: Callable[[str, int], Found], *, meter: Meter,
         limit_s: float | None, known: Callable[[str, int], bool]) -> Raced[Found]:
    """What each arm gave with each seed, or why it gave nothing.

    Args:
        run: an arm with a seed.
        meter: whose time ends it: no run begins that could not end in time.
        limit_s: seconds that a run may take; without them, as long as the longest did.
        known: whether a run was finished earlier, and takes no time.

    Raises:
        Stopped: if a person asked to stop.
        ScrimpError: what would happen with every seed: wrong options, data or models.
    """
    found: Raced[Found] = {}
    longest = 0.0
    for seed in seeds:
        for name in names:
            stop_if_requested()
            needed = (limit_s if limit_s is not None else longest) + _STARTING_S
            if not known(name, seed) and meter.remaining_s() < needed:
                found[name, seed] = BudgetError(f"{max(meter.remaining_s(), 0):.0f} s were left, too few to begin",
                                                fix="give more time with --within")
                continue
            before = meter.elapsed_s()
            try:
                found[name, seed] = run(name, seed)
            except ScrimpError as error:
                if type(error) not in _OF_ONE_SEED:
                    raise
                found[name, seed] = error
            longest = max(longest, meter.elapsed_s() - before)
    return found
