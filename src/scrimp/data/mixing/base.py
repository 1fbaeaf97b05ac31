"""The family of mixers: which domain comes in which proportion, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from scrimp.core.errors import DataError
from scrimp.core.registry import Cost, Method

__all__ = ["Domains", "Mixer", "Weights", "by_size", "shares_of"]

Weights = dict[str, float]


@dataclass(frozen=True)
class Domains:
    """What is known of the domains when their weights are asked for.

    Attributes:
        sizes: name -> rows that there are; none is empty.
        steps: of the whole run.
        rows: that the whole run draws, from all domains together.
        looks: what the model showed until now, the oldest first; for each domain a number of the kind that the method
            asks for (`Mixer.sees`).
    """

    sizes: Mapping[str, int]
    steps: int
    rows: int
    looks: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not self.sizes:
            raise DataError("there is no domain to draw from")
        if empty := [name for name, size in self.sizes.items() if size < 1]:
            raise DataError("a domain holds no rows", where=empty[0], fix="leave it out")

    def done(self, step: int) -> float:
        """The share of the run that lies before ``step``."""
        return step / max(self.steps, 1)


class Mixer(Method):
    """Weighs domains. Weights are a function of the step and of what was seen, and nothing is drawn by chance.

    Attributes of the class:
        sees: what the method asks of the model now and then: the loss on held-out rows of each domain, or how far a
            step on each domain goes along the target's own gradient; None if it asks nothing.
    """

    family: ClassVar[str] = "mixing"
    verb: ClassVar[str] = "weights"

    @property
    def sees(self) -> Literal["losses", "alignment"] | None:
        """What it is told of each domain when the model is looked at; None if it looks at no model."""
        return None

    def looks_at(self, step: int, steps: int) -> bool:
        """Whether the model is looked at before this step."""
        return False

    def weights(self, step: int, *, signals: Domains) -> Weights:
        """What share of the rows of this step (from 0) comes from each domain.

        Returns:
            For every domain a number, none negative; they sum to 1.
        """
        raise NotImplementedError

    def cost(self) -> Cost:
        """Passes in a run over each row that is looked at."""
        return Cost(forward=0, backward=0)


def shares_of(parts: Mapping[str, float]) -> Weights:
    """Numbers that are not negative, and not all 0, as shares of their sum."""
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def by_size(domains: Domains) -> Weights:
    """Each row as likely as any other."""
    return shares_of(domains.sizes)
