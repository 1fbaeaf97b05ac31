"""A domain's rows with general ones among them, so that the general is not forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scrimp.core.errors import DataError
from scrimp.core.options import Fraction
from scrimp.core.registry import preset
from scrimp.data.mixing.stages import Stages

__all__ = ["GeneralAmongDomain", "most_general"]


class GeneralAmongDomain(Stages):
    """Give the favoured domains three quarters of the rows throughout, and general rows the last quarter.

    Zhang et al. 2023, "Balancing Specialized and General Skills in LLMs: The Impact of Modern Tuning and Data
    Strategy", blend general rows into a domain's at several ratios and take the one that serves both; they name no
    ratio for all cases. `most_general` chooses among those that were tried.

    Attributes:
        favoured: the domains, with the part of each in what they get together.
        begins: share of the run after which each stage begins; the first is 0.
        shares: of the favoured domains together, in each stage; null is what they have by their sizes.
    """

    shares: tuple[Fraction | None, ...] = (0.75,)


def most_general(domain_losses: Mapping[float, float], margin: float = 0.02) -> float:
    """The largest general share that costs the domain no more than a margin.

    Args:
        domain_losses: of each general share that was tried, the loss on the domain.
        margin: by how much the loss may lie above the lowest, as a share of it.

    Raises:
        DataError: if nothing was tried, or a loss is no positive number.
    """
    if not domain_losses or not all(math.isfinite(loss) and loss > 0 for loss in domain_losses.values()):
        raise DataError("losses of the domain are positive numbers, one at least", where="most_general")
    lowest = min(domain_losses.values())
    return max(share for share, loss in domain_losses.items() if loss <= (1 + margin) * lowest)


preset("general-quarter", GeneralAmongDomain, papers=(276,))
