"""The family of weightings: how much each example counts in its step, by its loss.

A weight is a function of the example's own loss and of what losses were like in the steps before. So the pass that
trains on an example also weighs it, and how a step is cut into parts changes nothing: statistics of the step itself
would need a forward pass over all of it first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch

from scrimp.core.registry import Method
from scrimp.tuning.objectives import Loss, Losses

__all__ = ["Weighting", "Weights"]


class Weighting(Method):
    """Gives each example the weight of its loss in the mean of its step."""

    family: ClassVar[str] = "weighting"
    verb: ClassVar[str] = "weights"

    def remembers(self) -> int:
        """Losses of earlier steps that `weights` is given; 0 if it weighs nothing. All count alike until they are."""
        raise NotImplementedError

    def weights(self, losses: torch.Tensor, recent: torch.Tensor) -> torch.Tensor:
        """Positive weights, float32 [B]; only how they compare within a step matters.

        Args:
            losses: float32 [B], of some examples of the step, in nats a trained token (or row).
            recent: float32 [R], of the last examples that were trained on before the step.
        """
        raise NotImplementedError


class Weights:
    """The weights of one run, with the losses that they go by.

    The loss of a step is ``sum_i w_i l_i / sum_i w_i n_i`` over its examples, with their summed losses ``l`` and counts
    ``n`` of what is trained.
    """

    def __init__(self, method: Weighting) -> None:
        self._method, self._most = method, method.remembers()
        self._recent = torch.zeros(0)

    @property
    def wants_losses(self) -> bool:
        """Whether examples' own losses are needed."""
        return self._most > 0

    def of(self, losses: Losses) -> Loss:
        """The weighted sum of a part of a step."""
        if len(self._recent) < self._most or not self._most:
            return losses.summed()
        means = losses.means.cpu()
        weights = self._method.weights(means, self._recent).to(losses.sums.device)
        return Loss((weights * losses.sums).sum(), int(losses.counts.sum()), float((weights * losses.counts).sum()))

    def see(self, losses: Iterable[float]) -> None:
        """The losses of a step that was made, in an order that does not depend on how it was cut."""
        if self._most:
            self._recent = torch.cat([self._recent, torch.tensor(list(losses))])[-self._most:]

    def state(self) -> dict[str, torch.Tensor]:
        """All that a continuation needs."""
        return {"recent": self._recent} if self._most else {}

    def adopt(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""
        self._recent = state.get("recent", self._recent)
