"""Weights that follow the model: a domain gains by what it still teaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Fraction
from scrimp.core.registry import Cost, preset
from scrimp.data.mixing.base import Domains, Mixer, Weights, shares_of

__all__ = ["Multiplicative", "skill_graph"]

Graph = dict[str, dict[str, float]]


class Multiplicative(Mixer):
    """Multiply each domain's weight, at every look at the model, by the exponential of what the domain gains.

    ``p_i ~ exp(rate * sum over the last `window` looks of gain_i)``, smoothed over looks.

    - skill-it: the gain is the loss on every skill that domain i teaches, ``sum over j of A_ij L_j``, where the graph A
      says how much a few steps on i lower the loss on j (`skill_graph`). What comes before something hard is learned
      while it still helps. Chen et al. 2023, "Skill-it! A Data-Driven Skills Framework for Understanding and Training
      Language Models".
    - dga: the gain is how far a step on domain i goes the target's way, ``<g_i, g_target> / <g_target, g_target>``,
      which is mirror descent on the target's loss. Fan et al. 2024, "Dynamic Gradient Alignment for Online Data
      Mixing", whose products are not divided; so the rate means the same for all models.

    Attributes:
        gain: "losses" on held-out rows of each domain, or "alignment" with the gradient of rows of a target.
        rate: how fast weights follow.
        looks: at the model in a run, evenly spread, the first before the first step.
        window: how many of the last looks count; null is all.
        smoothing: share of the former weights that is kept at each look.
        graph: domain -> domain -> how much learning the one lowers the loss on the other; each helps itself alone, if
            it is left out.
    """

    gain: Literal["losses", "alignment"] = "losses"
    rate: float = Field(default=0.5, gt=0)
    looks: int = Field(default=10, ge=1)
    window: int | None = Field(default=None, ge=1)
    smoothing: Fraction = 0.0
    graph: Graph = Field(default={})

    @model_validator(mode="after")
    def _graph_of_losses(self) -> Self:
        if self.graph and self.gain != "losses":
            raise ValueError("a 'graph' passes losses on; gradients need none")
        return self

    @property
    def sees(self) -> Literal["losses", "alignment"] | None:
        """What it gains by."""
        return self.gain

    def looks_at(self, step: int, steps: int) -> bool:
        return step in {round(look * steps / self.looks) for look in range(self.looks)}

    def weights(self, step: int, *, signals: Domains) -> Weights:
        names = list(signals.sizes)
        gains = np.array([[self._gain(name, look) for name in names] for look in signals.looks]).reshape(-1, len(names))
        found = np.full(len(names), 1 / len(names))
        for last in range(1, len(gains) + 1):
            first = 0 if self.window is None else max(0, last - self.window)
            raised = self.rate * gains[first:last].sum(0)
            here = np.exp(raised - raised.max())
            found = self.smoothing * found + (1 - self.smoothing) * here / here.sum()
        return shares_of(dict(zip(names, found.tolist(), strict=True)))

    def _gain(self, name: str, look: Mapping[str, float]) -> float:
        if not self.graph:
            return look[name]
        if unknown := next((one for one in (name, *self.graph.get(name, ())) if one not in look), None):
            raise OptionError(f"there is no domain '{unknown}'; {nearest(unknown, look)}", where="graph")
        return sum(helped * look[other] for other, helped in self.graph.get(name, {}).items())

    def cost(self) -> Cost:
        return Cost(forward=self.looks, backward=self.looks if self.gain == "alignment" else 0)


def skill_graph(before: Mapping[str, float], after: Mapping[str, Mapping[str, float]]) -> Graph:
    """How much learning each domain helps each skill: ``A_ij = max(0, (L_j - L_j after i) / L_j)``.

    Args:
        before: skill -> its loss under the model that training begins with.
        after: domain -> skill -> its loss after a few steps on that domain alone, from the same model.
    """
    return {domain: {skill: max(0.0, (before[skill] - loss) / before[skill]) for skill, loss in losses.items()}
            for domain, losses in after.items()}


preset("skill-it", Multiplicative, papers=(14,), gain="losses", rate=0.5, window=3)
preset("dga", Multiplicative, papers=(95,), gain="alignment", rate=1.0, smoothing=0.5)
