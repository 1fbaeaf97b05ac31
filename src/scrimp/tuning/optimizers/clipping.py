"""Bounds on gradients: one for all that moves, or one for each kind of component."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from torch import nn

from scrimp.core.registry import preset
from scrimp.tuning.optimizers.base import Clipping

__all__ = ["NormClipping"]

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


class NormClipping(Clipping):
    """Shrink a gradient that is longer than a bound to the bound.

    `g <- g min(1, clip / |g|)`, over everything that moves at once or for each kind of component apart: all query
    projections are one kind, all key projections another, and so on through attention, feed-forward layers, norms,
    embeddings and head, so that no component slows the others down. Pascanu et al. 2013, "On the Difficulty of Training
    Recurrent Neural Networks" (one norm); Yang and Ma 2022, "Improving Stability of Fine-Tuning Pretrained Language
    Models via Component-Wise Gradient Norm Clipping".

    Attributes:
        clip: the norm that a gradient may have; none leaves it as it is.
        components: what has a norm of its own: "all" together, or each "kind" (tensors whose names differ in the number
            of the layer alone; weight and bias are one kind).
    """

    clip: float | None = Field(default=1.0, gt=0)
    components: Literal["all", "kind"] = "all"

    def separable(self) -> bool:
        return self.clip is None

    def bound(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> float:
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in named_parameters:
            groups.setdefault("" if self.components == "all" else _kind(name), []).append(parameter)
        norms = [float(nn.utils.clip_grad_norm_(group, self.clip or math.inf)) for group in groups.values()]
        return math.hypot(*norms)


def _kind(name: str) -> str:
    """The name without the layer's number and the tensor's own name."""
    return _NUMBER.sub("*", name).rpartition(".")[0]


preset("global-norm", NormClipping)
preset("component-wise", NormClipping, papers=(156,), components="kind")
