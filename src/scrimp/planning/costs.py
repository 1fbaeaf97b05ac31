"""What training will cost here: measured for a moment on the person's own rows, then extrapolated."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from scrimp.core.budget import Bill, Budget, Meter, resident_bytes
from scrimp.core.errors import BudgetError
from scrimp.core.options import Options

if TYPE_CHECKING:
    from torch import nn

    from scrimp.examples.templates import Encoded
    from scrimp.tuning.options import TrainOptions, TrainResult
    from scrimp.tuning.plan import TunePlan

__all__ = ["Probe", "fits_memory", "largest_batch", "leaner", "probe_training"]

_STEPS, _STEP_TOKENS = 3, 1000
_LEAN_CHUNK = 64  # tokens whose logits are held at once where memory is short: the output layer is read more often
_LEAST_COMPARED = 4  # rows of a step that are compared with each other
_LEAST_MICRO, _MARGIN = 64, 0.9  # tokens computed at once at least; share of the declared memory that may be foreseen


class Probe(Options):
    """What a moment of training showed.

    Attributes:
        tokens_per_s: trained tokens (forward, backward and optimizer step) a second.
        resting_memory: resident bytes with the model loaded and idle, after it has been trained for a moment: what
            the libraries load for that and the compiled products stay.
        fixed_memory: bytes above these that training takes whatever is computed at once.
        memory_per_token: bytes above both that each token takes which is computed at once.
    """

    tokens_per_s: float
    resting_memory: int
    fixed_memory: int
    memory_per_token: float

    def seconds(self, tokens: float) -> float:
        """Predicted seconds to train on ``tokens``."""
        return tokens / self.tokens_per_s

    def peak_at(self, micro_tokens: int) -> int:
        """Predicted peak of resident bytes with such micro-batches."""
        return self.resting_memory + self.fixed_memory + int(self.memory_per_token * micro_tokens)


def probe_training(model: nn.Module, data: Sequence[Encoded], *, pad_id: int, plan: TunePlan, folder: Path,
                   meter: Meter, rows: float = math.inf) -> Probe:
    """Train a few steps of ``plan`` on real rows, restore the model and say what it took.

    The pace is that of steps of rows of typical length, without the first, which warms caches up. No row stands twice
    in a step, as what rows have in common is computed once; where there are few, all steps have the same.
    Memory is parted into what is fixed and what each token takes by a step of another size, the largest micro-batch of
    the run if these were none, if there is time for it. The seconds are on the run's bill.

    Args:
        rows: about how many there is time for; there are no fewer than steps.
    """
    from scrimp.tuning.adapters import load_trainable_state, trainable_state

    before = trainable_state(model)

    def tried(portion: Sequence[Encoded], steps: int, size: int) -> tuple[TrainResult, Bill, int]:
        few = _with(plan, steps=steps, batch_size=size, patience=None)
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
        with meter.part() as part:
            result = few.train(model, portion, pad_id=pad_id, folder=folder, meter=part)
            bill = part.bill()
        shutil.rmtree(folder, ignore_errors=True)
        load_trainable_state(model, before)
        return result, bill, largest_batch(plan.options, portion, rows=size)

    portion, size = _portion(data, min(rows / _STEPS, plan.options.batch_size))
    timed, bill, tokens_at_once = tried(portion, _STEPS, size)
    counted, warm_s = (timed.curve[1:], timed.curve[0].seconds) if timed.steps > 1 else (timed.curve, 0.0)
    seconds = max(counted[-1].seconds - warm_s, 1e-3)
    tokens = bill.tokens_backward * len(counted) / len(timed.curve)
    resting = resident_bytes()
    above = max(bill.peak_memory - resting, 0)
    per_token = above / tokens_at_once
    other = _of_another_size(data, plan.options, tokens_at_once)
    if other and _STEPS * size + len(other) <= rows:
        _, again, then_at_once = tried(other, 1, len(other))
        per_token = _per_token(tokens_at_once, above, then_at_once, again.peak_memory - resting)
    return Probe(tokens_per_s=tokens / seconds, resting_memory=resting, memory_per_token=per_token,
                 fixed_memory=max(above - round(per_token * tokens_at_once), 0))


def _per_token(tokens: int, above: int, then: int, then_above: int) -> float:
    """Bytes of each token by two sizes; at most all of them, for sizes that are near each other tell little."""
    return max(min((then_above - above) / (then - tokens), then_above / then), 0.0)


def largest_batch(options: TrainOptions, data: Sequence[Encoded], *, rows: int) -> int:
    """Padded tokens that are computed at once, at most, with ``rows`` of ``data`` a step; a row is never cut."""
    longest = max(row.padded for row in data)
    return max(longest, min(options.micro_tokens, rows * longest))


def _portion(data: Sequence[Encoded], most: float) -> tuple[list[Encoded], int]:
    """Rows of typical length for some steps, or for one where there are few, and how many a step takes.

    None stands twice, and a step takes at most ``most`` and a thousand tokens.
    """
    ordered = sorted(data, key=lambda e: len(e.ids))
    fitting = _STEP_TOKENS // max(1, len(ordered[len(ordered) // 2].ids))
    size = max(1, int(min(most, fitting, len(ordered))))
    count = _STEPS * size if _STEPS * size <= len(ordered) else size
    aside = min(len(ordered) // 4, (len(ordered) - count) // 2)
    typical = ordered[aside:len(ordered) - aside]
    return [typical[i * len(typical) // count] for i in range(count)], size


def _of_another_size(data: Sequence[Encoded], options: TrainOptions, tokens: int) -> list[Encoded]:
    """The longest rows, as many as are computed at once; if these are ``tokens``, one; if that is too, none."""
    ordered = sorted(data, key=lambda row: -row.padded)[:options.batch_size]
    full = ordered[:max(1, options.micro_tokens // ordered[0].padded)]
    found = full if len(full) * full[0].padded > tokens else full[:1]
    return found if largest_batch(options, found, rows=len(found)) != tokens else []


def fits_memory(probe: Probe, plan: TunePlan, budget: Budget, *, longest: int) -> TunePlan:
    """``plan`` with micro-batches small enough for the declared memory; of the ``longest`` row's tokens at least.

    Raises:
        BudgetError: if even a single row needs more than was declared.
    """
    if budget.memory is None:
        return plan
    micro = plan.options.micro_tokens
    whole = plan.options.step_in_backward or plan.objective.joint  # such a step is one part
    micro = min(micro, plan.options.batch_size * longest) if whole else micro
    least = micro if whole else max(_LEAST_MICRO, longest)
    while micro > least and probe.peak_at(micro) > _MARGIN * budget.memory:
        micro = max(micro // 2, least)
    if (needed := probe.peak_at(max(micro, longest))) > budget.memory:
        raise BudgetError(f"training needs about {needed >> 20} MiB of memory, declared are {budget.memory >> 20} MiB",
                          why=f"the loaded model and libraries alone hold {probe.resting_memory >> 20} MiB, and the "
                              f"longest row has {longest} tokens",
                          fix="declare more memory, shorten the rows or choose a smaller model")
    return _with(plan, micro_tokens=micro)


def check_resting(budget: Budget) -> None:
    """Raises: BudgetError: what is loaded already holds more memory than was declared."""
    if budget.memory is not None and (held := resident_bytes()) > budget.memory:
        raise BudgetError(f"the loaded model and libraries alone hold {held >> 20} MiB of memory, declared are "
                          f"{budget.memory >> 20} MiB", fix="declare more memory, or choose a smaller model")


def leaner(plan: TunePlan) -> Iterator[TunePlan]:
    """``plan``, and what needs ever less memory and more time for the same training, to rounding or nearly so.

    Micro-batches are first made smaller, which `fits_memory` does; then layers are computed twice, with the logits of
    fewer tokens at once; and then the optimizer's state is held in eight bits, where the library for it is installed.
    Rows that are compared with each other are at last compared with fewer, which does change the training.
    """
    yield plan
    if not plan.options.recompute:
        plan = _with(plan, recompute=True)
        if getattr(plan.objective, "chunk", 0) > _LEAN_CHUNK:
            plan = replace(plan, objective=plan.objective.model_copy(update={"chunk": _LEAN_CHUNK}))
        yield plan
    if getattr(plan.optimizer, "state_bits", 8) == 32 and find_spec("bitsandbytes"):
        plan = replace(plan, optimizer=plan.optimizer.model_copy(update={"state_bits": 8}))
        yield plan
    while plan.objective.joint and plan.options.batch_size > _LEAST_COMPARED:
        plan = _with(plan, batch_size=max(plan.options.batch_size // 2, _LEAST_COMPARED))
        yield plan


def _with(plan: TunePlan, **options: object) -> TunePlan:
    return replace(plan, options=plan.options.model_copy(update=options))
