"""Replay: a little of the old among the new."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.tuning.continual.base import Continual

__all__ = ["Replay"]


class Replay(Continual):
    """Mix old rows into the new ones, so that ``share`` of all that is learned is old.

    Every new row once, and ``share / (1 - share)`` times as many old ones, drawn without repetition as long as there
    are others, all in random order. Ibrahim et al. 2024, "Simple and Scalable Strategies to Continually Pre-train Large
    Language Models": with the learning rate raised again and decayed again (the schedule ``rewarm``), a few per cent
    are enough where the new is like the old, and up to half where it is not.

    Attributes:
        share: of the rows that are old ones.
    """

    share: float = Field(default=0.05, ge=0, lt=1)

    def order(self, new: int, old: int, *, seed: int = 0) -> np.ndarray:
        wanted = round(new * self.share / (1 - self.share))
        if wanted and not old:
            raise OptionError(f"a share of {self.share:g} is to be old, and there are no old rows", where="share")
        rng = np.random.default_rng(seed)
        rounds = [rng.permutation(old) for _ in range(math.ceil(wanted / old))] if wanted else []
        again = np.concatenate(rounds)[:wanted] if rounds else np.empty(0, dtype=np.int64)
        return rng.permutation(np.concatenate([np.arange(new), new + again]).astype(np.int64))


preset("replay", Replay, papers=(47,))
preset("replay-half", Replay, papers=(47,), share=0.5)
preset("no-replay", Replay, share=0.0)
