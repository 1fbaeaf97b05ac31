"""Schedules: a warm-up, a plateau, a decay. The usual ones differ in the decay's share and shape alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Self

from pydantic import model_validator

from scrimp.core.options import Fraction
from scrimp.core.registry import preset
from scrimp.tuning.optimizers.base import Schedule

__all__ = ["WarmupDecay"]

#: what is left of the way down, from 1 at the decay's start to 0 at its end
_SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "sqrt": lambda done: 1 - math.sqrt(done),
}


class WarmupDecay(Schedule):
    """Rise linearly, stay, and fall.

    ``cosine`` and ``linear`` fall all the way from the warm-up's end; ``constant`` never does. ``wsd`` (warm-up,
    stable, decay) falls at the very end. Hu et al. 2024, "MiniCPM: Unveiling the Potential of Small Language Models
    with Scalable Training Strategies"; its default shape, one minus a square root, is of Hägele et al. 2024, "Scaling
    Laws and Compute-Optimal Training Beyond Fixed Training Durations". ``rewarm`` raises the rate of a model that was
    decayed already and decays it again, to a tenth. Ibrahim et al. 2024, "Simple and Scalable Strategies to Continually
    Pre-train Large Language Models".

    Attributes:
        warmup: share of the steps that rise.
        decay: share of the steps that fall; what the warm-up leaves, if that is less.
        decay_shape: how it falls.
        floor: the factor at the end.
    """

    warmup: Fraction = 0.05
    decay: Fraction = 1.0
    decay_shape: Literal["cosine", "linear", "sqrt"] = "cosine"
    floor: Fraction = 0.0

    @model_validator(mode="after")
    def _some_steps_at_full_rate(self) -> Self:
        if self.warmup >= 1:
            raise ValueError("'warmup' must be less than the whole run")
        return self

    def factor(self, step: int, steps: int) -> float:
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        falling = min(round(self.decay * steps), steps - rising)
        if step <= steps - falling or falling == 0:
            return 1.0
        done = min((step - (steps - falling)) / falling, 1.0)
        return self.floor + (1 - self.floor) * _SHAPES[self.decay_shape](done)


preset("cosine", WarmupDecay)
preset("linear", WarmupDecay, decay_shape="linear")
preset("constant", WarmupDecay, decay=0.0)
preset("wsd", WarmupDecay, papers=(21,), decay=0.1, decay_shape="sqrt")
preset("rewarm", WarmupDecay, papers=(47,), warmup=0.01, floor=0.1)
