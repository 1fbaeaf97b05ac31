"""What training will cost here: measured for a moment on the person's own rows, then extrapolated."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scrimp.core.budget import Budget, Meter, resident_bytes
from scrimp.core.errors import BudgetError
from scrimp.core.options import Options

if TYPE_CHECKING:
    from torch import nn

    from scrimp.examples.templates import Encoded
    from scrimp.tuning.plan import TunePlan
    from scrimp.tuning.trainer import TrainOptions

__all__ = ["Probe", "fits_memory", "largest_batch", "probe_training"]

_STEPS, _STEP_TOKENS = 3, 1000


class Probe(Options):
    """What a moment of training showed.

    Attributes:
        tokens_per_s: trained tokens (forward, backward and optimizer step) a second.
        peak_memory: resident bytes at their highest.
        resting_memory: resident bytes with the model loaded and idle.
        micro_tokens: padded tokens of the largest micro-batch in the probe.
    """

    tokens_per_s: float
    peak_memory: int
    resting_memory: int
    micro_tokens: int

    def seconds(self, tokens: float) -> float:
        """Predicted seconds to train on ``tokens``."""
        return tokens / self.tokens_per_s

    def peak_at(self, micro_tokens: int) -> int:
        """Predicted peak of resident bytes with such micro-batches: what is above rest scales with them."""
        return int(self.resting_memory + (self.peak_memory - self.resting_memory) * micro_tokens / self.micro_tokens)


def probe_training(model: nn.Module, data: Sequence[Encoded], *, pad_id: int, plan: TunePlan, folder: Path,
                   meter: Meter, rows: float = math.inf) -> Probe:
    """Train a few steps of ``plan`` on real rows, restore the model and say what it took.

    The first step, which warms caches up, is not counted where there are others. The seconds are on the run's bill.

    Args:
        rows: about how many there is time for; there are no fewer than steps.
    """
    from scrimp.tuning.adapters import load_trainable_state, trainable_state

    before, resting = trainable_state(model), resident_bytes()
    portion = _portion(data, min(rows / _STEPS, plan.options.batch_size))
    few = _with(plan, steps=_STEPS, batch_size=len(portion) // _STEPS, patience=None)
    with meter.part() as part:
        timed = few.train(model, portion, pad_id=pad_id, folder=folder, meter=part)
        bill = part.bill()
    shutil.rmtree(folder, ignore_errors=True)
    load_trainable_state(model, before)
    counted, warm_s = (timed.curve[1:], timed.curve[0].seconds) if timed.steps > 1 else (timed.curve, 0.0)
    seconds = max(counted[-1].seconds - warm_s, 1e-3)
    tokens = bill.tokens_backward * len(counted) / len(timed.curve)
    return Probe(tokens_per_s=tokens / seconds, peak_memory=bill.peak_memory, resting_memory=resting,
                 micro_tokens=largest_batch(plan.options, portion, rows=len(portion) // _STEPS))


def largest_batch(options: TrainOptions, data: Sequence[Encoded], *, rows: int) -> int:
    """Padded tokens that are computed at once, at most, with ``rows`` of ``data`` a step; a row is never cut."""
    longest = max(row.padded for row in data)
    return max(longest, min(options.micro_tokens, rows * longest))


def _portion(data: Sequence[Encoded], most: float) -> list[Encoded]:
    """Rows of typical length for some steps, each of at most ``most`` rows and a thousand tokens."""
    ordered = sorted(data, key=lambda e: len(e.ids))
    typical = ordered[len(ordered) // 4: max(len(ordered) // 4 + 1, 3 * len(ordered) // 4 + 1)]
    fitting = _STEP_TOKENS // max(1, len(typical[len(typical) // 2].ids))
    count = _STEPS * max(1, int(min(most, fitting)))
    return [typical[i * len(typical) // count] for i in range(count)]


def fits_memory(probe: Probe, plan: TunePlan, budget: Budget, *, longest: int) -> TunePlan:
    """``plan`` with micro-batches small enough for the declared memory; of the ``longest`` row's tokens at least.

    Raises:
        BudgetError: if even a single row needs more than was declared.
    """
    if budget.memory is None:
        return plan
    micro, least, margin = plan.options.micro_tokens, max(64, longest), 0.9
    while micro > least and probe.peak_at(micro) > margin * budget.memory:
        micro = max(micro // 2, least)
    if (needed := probe.peak_at(max(micro, longest))) > budget.memory:
        raise BudgetError(f"training needs about {needed >> 20} MiB of memory, declared are {budget.memory >> 20} MiB",
                          why=f"the loaded model and libraries alone hold {probe.resting_memory >> 20} MiB, and the "
                              f"longest row has {longest} tokens",
                          fix="declare more memory, shorten the rows or choose a smaller model")
    return _with(plan, micro_tokens=micro)


def _with(plan: TunePlan, **options: object) -> TunePlan:
    return replace(plan, options=plan.options.model_copy(update=options))
