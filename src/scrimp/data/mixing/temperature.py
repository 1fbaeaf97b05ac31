"""Weights by the sizes of the domains, drawn towards each other by a temperature or a cap."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from scrimp.core.options import Fraction
from scrimp.core.registry import preset
from scrimp.data.mixing.base import Domains, Mixer, Weights, shares_of

__all__ = ["Temperature"]


class Temperature(Mixer):
    """Weigh each domain by a root of its size, so that small ones are seen more often than their rows alone would be.

    ``p_i ~ min(n_i, cap)^(1 / temperature)``: proportional at 1, uniform where there is none.

    - cooldown: a high temperature first, so that small domains are learned fast, and then a low one, before they are
      known by heart. Li et al. 2025, "Upsample or Upweight? Balanced Training on Heavily Imbalanced Datasets".
    - capped: no domain counts for more than so many rows, however large it is. Iyer et al. 2022, "OPT-IML: Scaling
      Language Model Instruction Meta Learning through the Lens of Generalization".
    - diversity-first: as many domains as there are, with as few rows of each as make up the run; the cap is that of
      which all rows together are as many as are drawn. Zhang et al. 2024, "From Symbolic Tasks to Code Generation:
      Diversification Yields Better Task Performers".

    Attributes:
        temperature: at the beginning; null is above all numbers.
        cooled: the temperature from `cool_at` on.
        cool_at: share of the run after which it changes; 1 is never.
        cap: the most rows that a domain counts for; "rows" is the least cap under which the run repeats no row while
            there are others.
    """

    temperature: Annotated[float, Field(ge=1)] | None = 1.0
    cooled: Annotated[float, Field(ge=1)] | None = 1.0
    cool_at: Fraction = 1.0
    cap: Annotated[int, Field(ge=1)] | Literal["rows"] | None = None

    def weights(self, step: int, *, signals: Domains) -> Weights:
        cap = level(list(signals.sizes.values()), signals.rows) if self.cap == "rows" else self.cap or math.inf
        temperature = self.cooled if signals.done(step) >= self.cool_at else self.temperature
        power = 0.0 if temperature is None else 1 / temperature
        return shares_of({name: min(size, cap) ** power for name, size in signals.sizes.items()})


def level(sizes: list[int], rows: int) -> float:
    """The cap under which domains of these sizes hold ``rows`` rows in all; the largest size if they hold fewer."""
    left, ordered = float(rows), sorted(sizes)
    for place, size in enumerate(ordered):
        even = left / (len(ordered) - place)
        if even <= size:
            return even
        left -= size
    return float(ordered[-1])


preset("proportional", Temperature)
preset("uniform", Temperature, temperature=None)
preset("temperature", Temperature, temperature=5.0)
preset("cooldown", Temperature, papers=(32,), temperature=5.0, cooled=1.0, cool_at=0.5)
preset("capped", Temperature, papers=(258,), cap=4096)
preset("diversity-first", Temperature, papers=(173,), cap="rows")
