"""Settings to try, as many for every arm: those that its recipe names, then other learning rates."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from scrimp.core.errors import OptionError

__all__ = ["settings"]

_FACTORS = (1 / 3, 3.0, 1 / 10, 10.0, 1 / 30, 30.0)  # of the learning rate, the near ones first


def settings(options: Mapping[str, Any], named: Mapping[str, Sequence[Any]], count: int, *, seed: int,
             where: str) -> list[dict[str, Any]]:
    """``count`` different settings to try, each a change of ``options``.

    All combinations of what is named, or as many of them by chance; where they are fewer, other learning rates too.

    Args:
        options: of the tuning, as the recipe spells them out.
        named: option -> values to try.
        seed: of what is drawn.
        where: who asks.

    Raises:
        OptionError: if a value is none that the option takes, or there are not so many settings.
    """
    from scrimp.tuning.plan import TunePlan

    grid = [dict(zip(named, values, strict=True)) for values in product(*named.values())]
    for point in grid:
        TunePlan.parse({**options, **point}, where=f"{where}, search")
    if len(grid) >= count:
        return [grid[place] for place in sorted(random.Random(seed).sample(range(len(grid)), count))]
    found = [*grid, *_rates(options, grid, where)][:count]
    if len(found) < count:
        raise OptionError(f"there are {len(found)} settings to try, not {count}", where=where,
                          fix="name more values under `search`, or ask for fewer tries")
    return found


def _rates(options: Mapping[str, Any], grid: Sequence[Mapping[str, Any]], where: str) -> Iterator[dict[str, Any]]:
    """The settings again with other learning rates, unless those are what is searched."""
    from scrimp.tuning.plan import TunePlan

    for factor in _FACTORS:
        for point in grid:
            rate = getattr(TunePlan.parse({**options, **point}, where=where).optimizer, "learning_rate", None)
            if rate is not None and "learning_rate" not in point:
                yield {**point, "learning_rate": float(f"{rate * factor:.3g}")}
