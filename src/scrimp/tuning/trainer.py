"""The trainer: the one loop over optimizer steps, in plain PyTorch.

A run is a plan of so many steps. Its budget may cut the plan, which is logged and kept to, so that the schedule still
decays to its end; a kill costs what came after the last checkpoint, and the same call continues from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import nn

from scrimp.compute.decoder import packed_of
from scrimp.compute.lower import Lower
from scrimp.core import interrupts
from scrimp.core.budget import Meter
from scrimp.core.errors import BudgetError, GuardError, ModelError, OptionError, Stopped
from scrimp.core.ledger import Ledger
from scrimp.core.listeners import tell
from scrimp.core.memory import is_out_of_memory
from scrimp.core.progress import Bar, bar, warn
from scrimp.core.workspace import fingerprint
from scrimp.tuning.adapters import Chooser, compute_dtype, copied, put_back, trainable
from scrimp.tuning.beforehand import Beforehand
from scrimp.tuning.curve import CurvePoint
from scrimp.tuning.fastpath import fast_path
from scrimp.tuning.guards import (
    MAX_REWINDS,
    DeadGradient,
    Frozen,
    Unmoved,
    check_put_back,
    check_seed,
    fault,
    untrained,
)
from scrimp.tuning.inbackward import InBackward
from scrimp.tuning.memory import Tidy, return_freed
from scrimp.tuning.objectives import Loss, Objective, TorchBatch
from scrimp.tuning.objectives.tokens import decoder_and_head
from scrimp.tuning.optimizers import Clipping, NormClipping, Optimizer, Schedule, Stepped
from scrimp.tuning.options import StoppedBy, TrainOptions, TrainResult
from scrimp.tuning.position import Position
from scrimp.tuning.recompute import recomputed
from scrimp.tuning.references import keep_references, with_references
from scrimp.tuning.reproducible import RandomState, reproducible
from scrimp.tuning.sampling import Answer, Sampling, Shuffle
from scrimp.tuning.snapshots import Snapshot, Snapshots, optimizer_state, restore_optimizer
from scrimp.tuning.stream import Stream
from scrimp.tuning.weighting import Uniform, Weighting, Weights
from scrimp.tuning.work import Work

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["TrainOptions", "TrainResult", "train"]

_FORWARD_SHARE = 0.4  # of the time of a step, that its forward pass takes at most
_KEPT_TOKENS = 1024  # of a portion of rows whose lower states are computed together and kept
_MORE = "declare more, or use a smaller batch_size"


def train(
    model: nn.Module, data: Sequence[Encoded], *, pad_id: int, objective: Objective, optimizer: Optimizer,
    schedule: Schedule, options: TrainOptions, folder: Path, meter: Meter, ledger: Ledger | None = None,
    validate: Callable[[], float] | None = None, clipping: Clipping | None = None, sampling: Sampling | None = None,
    weighting: Weighting | None = None,
) -> TrainResult:
    """Train what moves in ``model`` and leave the best weights in it.

    Args:
        model: with an adapter attached; on the device it is to run on.
        data: encoded examples; those without a trained token or label are left out, and that is warned of.
        pad_id: fills short rows.
        objective, optimizer, schedule: the methods.
        options: how long, in what portions, how carefully.
        folder: checkpoints go to ``folder/checkpoint``; the same call continues from the last one, to bit-identical
            weights where no time or memory budget interferes. A finished run is not run again.
        meter: its time, token and memory budgets are kept; tokens and operations are charged to it.
        ledger: where the run's events are written.
        validate: measures ``model`` (in evaluation mode); lower is better. Called before the first step, every
            ``validate_every`` steps and at the end.
        clipping: of the gradients; their norm over all that moves is cut to 1 if left out.
        sampling: which examples each step sees; all, in a new order each epoch, if left out.
        weighting: how much each example counts in its step; alike if left out.

    Raises:
        GuardError: a fault that would make the result silently wrong.
        OptionError: a step must be made in the backward pass, or whole, and cannot be with these options.
        BudgetError: not even one step fits in the budget or in memory.
        WorkspaceError: ``folder`` cannot be written, or holds another run.
        Stopped: a person asked to stop; the run is saved.
    """
    moving = trainable(model)
    if not moving:
        raise ModelError("nothing of this model can move", fix="attach an adapter before training")
    return_freed()  # of what came before: training takes blocks of other sizes
    with (reproducible(options.seed, next(iter(moving.values())).device),
          fast_path(model, data, pad_id=pad_id, wanted=options.fast, meter=meter) as slow_because,
          recomputed(model, wanted=options.recompute)):
        run = _Run(model, data, pad_id, objective, optimizer, schedule, options, Path(folder), meter, ledger, validate,
                   clipping or NormClipping(), sampling or Shuffle(), weighting or Uniform(), slow_because)
        try:
            return run.go()
        finally:  # an optimizer may let but a part of it move at a time
            for parameter in moving.values():
                parameter.requires_grad_(True)
                parameter.grad = None
            del run  # with the optimizer's state
            return_freed()


@dataclass
class _Run:
    model: nn.Module
    data: Sequence[Encoded]
    pad_id: int
    objective: Objective
    method: Optimizer
    schedule: Schedule
    options: TrainOptions
    folder: Path
    meter: Meter
    ledger: Ledger | None
    validate: Callable[[], float] | None
    clipping: Clipping
    sampling: Sampling
    weighting: Weighting
    slow_because: str | None
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)
    each: dict[int, float] = field(default_factory=dict)  # mean losses of the examples last passed, where wanted
    over_memory: bool = False
    memory: Tidy = field(default_factory=Tidy)

    # -- setting out ---------------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        options = self.options
        self.objective.check(self.model)
        self.moving = trainable(self.model)
        self.device = next(iter(self.moving.values())).device
        self.dtype = compute_dtype(self.model)
        self.data = self.prepared()
        silent = set(untrained(self.data, self.objective))
        kept = [example for i, example in enumerate(self.data) if i not in silent]
        self.feed = self.sampling.feed(kept, batch_size=options.batch_size, seed=options.seed)
        if isinstance(self.sampling, Shuffle):
            check_seed(self.feed, self.sampling.feed(kept, batch_size=options.batch_size, seed=options.seed + 1))
        self.weights = Weights(self.weighting)
        self.stream = Stream(kept, batch_size=options.batch_size, seed=options.seed, pad_id=self.pad_id, feed=self.feed)
        self.feed.planned = steps = options.steps or options.epochs * self.stream.steps_per_epoch
        self.at = Position(first_plan=steps, planned=steps, micro_tokens=options.micro_tokens)
        if silent:
            rows = ", ".join(str(self.data[i].row) for i in sorted(silent)[:5])
            self.warn(f"{len(silent)} of {len(self.data)} examples have no trained token or label and are left out "
                      f"(rows {rows}{' ...' if len(silent) > 5 else ''})")
        self.path = None if self.slow_because else packed_of(decoder_and_head(self.model)[0])
        self.work = Work.of(self.model, below=self.path.steady_parameters() if self.path else ())
        self.dead, self.unmoved = DeadGradient(self.moving), Unmoved(self.moving)
        self.frozen = Frozen({name: p for name, p in self.model.named_parameters() if name not in self.moving})
        self.validate_every = options.validate_every or self.stream.steps_per_epoch
        self.optimizer = self.method.build(self.moving.items(), steps)
        self.one_part = "step_in_backward" if options.step_in_backward else "objective" if self.objective.joint else ""
        self.check_part()
        self.in_backward = (InBackward(self.moving, self.optimizer, self.clipping, self.dead)
                            if options.step_in_backward else None)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        parts: list[object] = [*self.model.modules(), self.optimizer]
        self.stepped = [part for part in parts if isinstance(part, Stepped)]
        self.choosers = {name: m for name, m in self.model.named_modules() if isinstance(m, Chooser)}
        self.snapshots = Snapshots(self.folder / "checkpoint", self.identity(kept))

    def check_part(self) -> None:
        """Raises: OptionError: a step cannot be parted, and does not fit whole."""
        whole = min(self.options.batch_size, len(self.stream.lengths)) * self.longest()
        if self.one_part and self.options.micro_tokens < whole:
            raise OptionError("a step must be one part here, and micro_tokens does not hold it", where=self.one_part,
                              fix=f"micro_tokens: {whole}, or a smaller batch_size")

    def prepared(self) -> list[Encoded]:
        """The data as the objective wants it; what it measures of the model is measured in a run's first attempt."""
        file, identity = self.folder / "references.json", self.identity(self.data)
        given = with_references(self.data, file, identity)
        ready = self.objective.prepare(self.model, given, pad_id=self.pad_id, meter=self.meter,
                                       micro_tokens=self.options.micro_tokens)
        if [one.reference for one in ready] != [one.reference for one in given]:
            keep_references(ready, file, identity)
        return ready

    def identity(self, kept: Sequence[Encoded]) -> str:
        """Of all that decides the result, the frozen weights excepted: these are in the folder's own address."""
        cosmetic = {"checkpoint_every_s", "checkpoint_every_steps", "reserve_s", "recompute"}
        return fingerprint({
            "options": self.options.model_dump(mode="json", exclude=cosmetic),
            "methods": [[type(m).__name__, m.model_dump(mode="json")]
                        for m in (self.objective, self.method, self.schedule, self.clipping, self.sampling,
                                  self.weighting)],
            "data": [_content(example) for example in kept],
            "moving": {name: list(p.shape) for name, p in self.moving.items()},
            "precision": str(self.dtype), "pad_id": self.pad_id, "validated": self.validate is not None,
        })

    def computed(self) -> str:
        if self.path is None:
            return f"on the usual path: {self.slow_because}"
        shared = "" if self.path.shared else ", nothing shared between rows because of dropout"
        once = f", the states below layer {self.path.steady} computed once" if self.lower else ""
        return f"on the fast path, with {self.path.kernels.name} kernels{shared}{once}"

    @property
    def lower(self) -> Lower | None:
        """Where states below the lowest layer that moves are kept, if they are."""
        kept = self.path.lower if self.path else None
        return kept if kept and kept.is_kept else None

    def keep_lower(self) -> None:
        """Keep the states below the lowest layer that moves, if the run will come back to its rows."""
        if self.path and self.path.steady and self.at.first_plan > self.stream.steps_per_epoch:
            portions = self.stream.portions(min(self.options.micro_tokens, _KEPT_TOKENS), self.path)
            self.path.lower = Lower(self.path, portions, self.folder, self.warn)

    def go(self) -> TrainResult:
        self.model.train()
        self.set_out()
        self.keep_lower()
        while self.at.stopped_by is None:
            with bar("training", self.at.planned - self.at.step) as shown:
                self.follow_plan(shown)
            if self.at.stopped_by is not None:
                self.close()
        return self.result()

    def set_out(self) -> None:
        """Continue from the last checkpoint, or make the plan and validate and save the start."""
        self.began = self.saved_at = time.monotonic()
        if (snapshot := self.snapshots.latest()) is not None:
            self.restore(snapshot)
            self.log("continued", step=self.at.step, planned=self.at.planned)
            return
        if self.snapshots.damaged:
            self.warn("all checkpoints were damaged; the run started again")
        self.log("started", planned=self.at.planned, steps_per_epoch=self.stream.steps_per_epoch,
                 trainable=self.work.moving, precision=str(self.dtype).removeprefix("torch."),
                 computed=self.computed(),
                 options=self.options.model_dump(mode="json"))
        self.check_losses()
        for name, chooser in self.choosers.items():
            self.choose(name, chooser)
        self.cut_to_tokens()
        if (ended := self.spent()) is not None:
            self.end(ended)
        if self.validate:
            self.measure()
        self.save()

    def check_losses(self) -> None:
        """See that two rows have the losses that they should have; the look is billed."""
        look = Beforehand(self.model, self.objective, self.stream, self.path, self.dtype, self.at.micro_tokens)
        self.meter.charge(flops=self.work.forward_flops(look.check(), 0))
        self.passed(0)

    def choose(self, name: str, chooser: Chooser) -> None:
        """Let a part of the adapter look at the first steps' gradients and choose what moves; the looks are billed."""
        if not chooser.looks:
            return
        looked_at = sum(self.stream.tokens(self.stream.expected(step)) for step in range(chooser.looks))
        if looked_at > _tokens_left(self.meter):
            raise BudgetError("what moves cannot be chosen within the tokens budget", fix=_MORE,
                              why=f"the adapter looks at the gradients of {chooser.looks} steps first")
        chooser.choose(self.looks(chooser.looks))
        self.model.zero_grad(set_to_none=True)
        self.log("chosen", part=name, looks=chooser.looks)

    def looks(self, count: int) -> Iterator[None]:
        """Leave the mean gradients of the first ``count`` steps, one after another, in whatever requires one."""
        for step in range(count):
            self.gradient(self.stream.expected(step))
            yield

    # -- the loop ------------------------------------------------------------------------------------------------

    def follow_plan(self, shown: Bar) -> None:
        """Step until the run is over or its plan is cut, which changes the bar's total."""
        planned = self.at.planned
        while self.at.stopped_by is None and self.at.planned == planned:
            if interrupts.stop_requested():
                self.stop()
            if (ended := self.spent()) is not None:
                self.end(ended)
                return
            before = self.at.step
            self.step()
            shown.advance(self.at.step - before, f"loss {self.at.curve[-1].loss:.3f}" if self.at.curve else "")

    def step(self) -> None:
        """One update with what follows from it, or a rewind."""
        started, kept_s = time.monotonic(), self.lower.seconds if self.lower else 0.0
        for part in self.stepped:
            part.enter_step(self.at.step)
        rate = self.set_rate()
        self.answer()
        indices = self.stream.indices(self.at.step)
        loss = self.gradient(indices, self.in_backward)
        norm = self.in_backward.norm if self.in_backward else self.clipping.bound(self.moving.items())
        if (reason := fault(loss, norm, [point.loss for point in self.at.curve])) is not None:
            self.rewind(reason)
            return
        self.dead.see()
        if not self.in_backward:
            self.unmoved.before()
            self.optimizer.step()
            self.unmoved.after(rate)
        self.feed.see(self.at.step, self.each)
        self.weights.see(self.each[i] for i in indices if i in self.each)
        self.at.step += 1
        self.at.curve.append(CurvePoint(step=self.at.step, seconds=self.seconds(), loss=loss, learning_rate=rate))
        took = time.monotonic() - started
        self.at.pace.record(took, once=self.lower.seconds - kept_s if self.lower else 0.0)
        tell(self.at.step, loss=loss, learning_rate=rate,
             tokens_per_second=self.stream.tokens(indices) / max(took, 1e-9))  # a clock may not have moved
        self.cut_to_time()
        last = self.at.step >= self.at.planned
        if self.validate and (last or self.at.step % self.validate_every == 0):
            self.measure()
        if last:
            self.at.stopped_by = self.at.cut_by or "plan"
        elif self.at.stopped_by is None and self.checkpoint_due():
            self.save()

    def answer(self) -> None:
        """Tell the feed what it asks of the model before it decides the step; the passes are billed."""
        self.feed.planned = self.at.planned
        if (question := self.feed.ask(self.at.step)) is None:
            return
        losses: dict[int, float] = {}
        means, gradients = {}, {}
        self.model.train(question.gradients)
        for name, group in question.groups.items():
            means[name] = self.gradient(group, asked=True, backward=question.gradients)
            losses |= self.each
            if question.gradients:
                gradients[name] = torch.cat([p.grad.flatten() for p in self.moving.values() if p.grad is not None])
        self.model.train()
        products = {(a, b): float(gradients[a] @ gradients[b]) for a in gradients for b in gradients}
        self.feed.told(self.at.step, Answer(losses, means, products))

    def gradient(self, indices: Sequence[int], within: InBackward | None = None, *, asked: bool = False,
                 backward: bool = True) -> float:
        """Leave the examples' mean gradient in the parameters, or move them by it at once; returns the mean loss.

        Args:
            indices: the examples.
            within: moves the parameters.
            asked: find each example's own loss, and give them all the same weight.
            backward: if not, only losses are found.
        """
        random = RandomState.now()
        while True:
            try:
                return self.accumulate(indices, within, asked=asked, backward=backward)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            random.put_back()
            if not self.shrink("out of memory"):
                raise self.too_large()

    def accumulate(self, indices: Sequence[int], within: InBackward | None, *, asked: bool, backward: bool) -> float:
        """Sum the micro-batches' gradients, then divide by the step's count, so that how it is cut changes nothing."""
        total, count, divisor, computed, below = 0.0, 0, 0.0, 0, 0
        self.passed(0)  # what validation passed is on its own bill
        self.each = {}
        self.model.zero_grad(set_to_none=True)
        for part, batch in self.stream.batches(indices, self.at.micro_tokens, self.path):
            on_device = TorchBatch.of(batch, self.device)
            with (torch.set_grad_enabled(backward), torch.autocast(
                    self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16, cache_enabled=backward)):
                loss = self.loss(part, on_device, asked)
            self.over_memory |= self.meter.out_of() == "memory"
            if loss.count:
                if backward:
                    with within.moving_by_mean(loss.divisor) if within else nullcontext():
                        loss.total.backward()
                total, count = total + float(loss.total.detach()), count + loss.count
                divisor += loss.divisor
            passed = self.passed(on_device.input_ids.numel())
            computed, below = computed + passed[0], below + passed[1]
            self.memory.after_turn()
        if not count:
            raise GuardError(f"nothing is trained in step {self.at.step + 1}",
                             where=f"rows {self.stream.rows(indices)}", why="the objective counts nothing in it",
                             fix="see what is trained with: scrimp inspect")
        flops = (self.work.flops(computed, count, below, recomputed=self.options.recompute) if backward
                 else self.work.forward_flops(computed, count))
        self.charge(self.stream.tokens(indices), flops, backward=backward)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad /= divisor
        return total / divisor

    def loss(self, part: Sequence[int], batch: TorchBatch, asked: bool) -> Loss:
        """The loss of a micro-batch, which holds these examples; weighted, unless their own losses were asked for."""
        if not (asked or self.feed.wants_losses or self.weights.wants_losses):
            return self.objective.loss(self.model, batch)
        losses = self.objective.losses(self.model, batch)
        self.each |= zip(part, losses.means.tolist(), strict=True)
        return losses.summed() if asked else self.weights.of(losses)

    def passed(self, padded: int) -> tuple[int, int]:
        """Tokens that the last micro-batch passed through the body, and through what is below all that moves."""
        found = self.path.computed() if self.path else (0, 0)
        return found if any(found) else (padded, padded)

    def set_rate(self) -> float:
        """Give the optimizer the step's learning rates; returns that of the first group."""
        factor = self.at.slowed * self.schedule.factor(self.at.step, self.at.planned)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        return self.rates[0] * factor

    def rewind(self, reason: str) -> None:
        """Go back to the last checkpoint with the learning rate halved."""
        rewinds, slowed, at_step, warnings = self.at.rewinds + 1, self.at.slowed / 2, self.at.step + 1, self.at.warnings
        snapshot = self.snapshots.latest()
        self.optimizer.zero_grad(set_to_none=True)
        if snapshot is not None:
            self.restore(snapshot, spent=(self.seconds(), self.at.tokens))
        if rewinds > MAX_REWINDS or snapshot is None:
            raise GuardError(f"the run does not hold: in step {at_step} {reason}",
                             why=f"it was rewound {rewinds - 1} times, each with half the learning rate",
                             fix="choose a much smaller learning_rate, or look for broken examples")
        self.at.rewinds, self.at.slowed, self.at.warnings = rewinds, slowed, warnings
        self.warn(f"in step {at_step} {reason}: rewound to step {self.at.step}, learning rate times {slowed:g}")
        self.log("rewound", reason=reason, at=at_step, to=self.at.step, slowed=slowed)
        self.save()

    # -- validation ----------------------------------------------------------------------------------------------

    def measure(self) -> None:
        """Validate, keep the weights if they are the best so far, and count the waiting."""
        assert self.validate is not None
        started = time.monotonic()
        self.model.eval()
        with torch.no_grad():
            value = float(self.validate())
        self.model.train()
        if not math.isfinite(value):
            raise GuardError(f"the validation after step {self.at.step} is {value}",
                             fix="choose a smaller learning_rate, or look into the validation rows")
        self.at.pace.validation_s, self.at.validated_at = time.monotonic() - started, self.at.step
        self.log("validated", step=self.at.step, value=value)
        tell(self.at.step, validation=value)
        if self.at.curve:
            self.at.curve[-1] = self.at.curve[-1].model_copy(update={"validation": value})
        else:
            self.at.validation_before = value
        if self.at.best is None or value < self.at.best:
            self.at.best, self.at.best_step, self.at.waited = value, self.at.step, 0
            self.best_state = copied(self.moving)
        else:
            self.at.waited += 1
            if self.options.patience and self.at.waited >= self.options.patience:
                self.at.stopped_by = "patience"

    # -- budgets -------------------------------------------------------------------------------------------------

    def spent(self) -> StoppedBy | None:
        """The budget that one more step and the closing would break; memory is first met with smaller parts."""
        ended = self.meter.out_of(self.at.pace.next_s() + self.after_s())
        if ended == "memory" or self.over_memory:
            self.over_memory = False
            return None if self.shrink("memory budget") else "memory"
        return ended  # type: ignore[return-value]

    def after_s(self) -> float:
        """Seconds to keep for what follows the last step, and what the objective then does with all examples."""
        if type(self.objective).conclude is Objective.conclude:
            return self.options.reserve_s
        passes = len(self.data) / self.options.batch_size
        return self.options.reserve_s + _FORWARD_SHARE * passes * max(self.at.pace.steps, default=0.0)

    def cut_to_tokens(self) -> None:
        """Plan no more steps than the token budget pays for."""
        left, planned = _tokens_left(self.meter), 0
        while planned < self.at.planned and (left := left - self.stream.tokens(self.stream.expected(planned))) >= 0:
            planned += 1
        self.cut(planned, "tokens")

    def cut_to_time(self) -> None:
        """Plan no more steps than there is time for: once the pace is known, and again at each tenth of the plan."""
        left = self.meter.remaining_s() - self.after_s()
        due = self.at.pace.count == 4 or self.at.step % max(self.at.planned // 10, 1) == 0
        if self.at.pace.known and due and math.isfinite(left):
            fitting = self.at.pace.fitting(left, validate_every=self.validate_every,
                                           save_every_s=self.options.checkpoint_every_s,
                                           once_s=self.lower.rest_s() if self.lower else 0.0)
            self.cut(self.at.step + fitting, "time")

    def cut(self, planned: int, budget: StoppedBy) -> None:
        if planned >= self.at.planned:
            return
        if planned == 0:
            raise BudgetError(f"not one step fits in the {budget} budget", fix=_MORE)
        self.log("cut", budget=budget, step=self.at.step, planned=self.at.planned, to=planned)
        self.at.planned, self.at.cut_by = planned, budget

    def shrink(self, reason: str) -> bool:
        """Compute half as much at once, unless that is a single example already or a step must be one part."""
        if self.one_part or self.at.micro_tokens <= self.longest():
            return False
        self.optimizer.zero_grad(set_to_none=True)
        return_freed()
        largest = min(self.at.micro_tokens, self.options.batch_size * self.longest())
        self.at.micro_tokens = max(largest // 2, self.longest())
        self.log("shrunk", reason=reason, micro_tokens=self.at.micro_tokens)
        return True

    def too_large(self) -> BudgetError:
        if self.one_part:
            return BudgetError("a step does not fit in memory", why=f"with this {self.one_part} it is not parted",
                               fix=f"use a smaller batch_size, or another {self.one_part}")
        return BudgetError("a single example does not fit in memory", why=f"the longest has {self.longest()} tokens",
                           fix="shorten the examples, or use a smaller model or rank")

    def longest(self) -> int:
        return max(self.stream.lengths)

    def charge(self, tokens: int, flops: float, *, backward: bool) -> None:
        trained = tokens if backward else 0
        self.at.tokens += trained
        self.meter.charge(tokens_forward=tokens, tokens_backward=trained, flops=flops)

    # -- keeping -------------------------------------------------------------------------------------------------

    def seconds(self) -> float:
        return self.at.seconds + time.monotonic() - self.began

    def checkpoint_due(self) -> bool:
        if self.options.checkpoint_every_steps:
            return self.at.step % self.options.checkpoint_every_steps == 0
        return time.monotonic() - self.saved_at >= self.options.checkpoint_every_s

    def save(self) -> None:
        started = time.monotonic()
        random, (tensors, facts) = RandomState.now(), optimizer_state(self.optimizer)
        position = self.at.model_copy(update={"seconds": self.seconds()})
        self.snapshots.save(Snapshot(
            {**{f"now.{name}": p.detach().cpu() for name, p in self.moving.items()},
             **{f"best.{name}": t for name, t in self.best_state.items()},
             **{f"optimizer.{name}": t for name, t in tensors.items()},
             **{f"chosen.{name}": chooser.chosen for name, chooser in self.choosers.items()},
             **{f"feed.{name}": t for name, t in self.feed.state().items()},
             **{f"weights.{name}": t for name, t in self.weights.state().items()},
             **{f"random.{name}": t for name, t in random.tensors.items()}},
            {"position": position.model_dump(mode="json"), "optimizer": facts, "random": dict(random.facts)}))
        self.saved_at = time.monotonic()
        self.at.pace.saving_s = self.saved_at - started

    def restore(self, snapshot: Snapshot, spent: tuple[float, int] | None = None) -> None:
        """Take up a checkpoint; ``spent`` (seconds, tokens) stays on the account when it is a rewind."""
        for name, chosen in snapshot.under("chosen").items():
            self.choosers[name].adopt(chosen)
        self.feed.adopt(snapshot.under("feed"))
        self.weights.adopt(snapshot.under("weights"))
        put_back(self.moving, snapshot.under("now"))
        self.best_state = snapshot.under("best")
        restore_optimizer(self.optimizer, snapshot.under("optimizer"), snapshot.facts["optimizer"])
        RandomState(snapshot.under("random"), snapshot.facts["random"]).put_back()
        self.at = Position.model_validate(snapshot.facts["position"])
        if spent:
            self.at.seconds, self.at.tokens = spent
        self.began = time.monotonic()

    def stop(self) -> NoReturn:
        self.save()
        self.log("interrupted", step=self.at.step)
        raise Stopped(f"stopped after step {self.at.step} of {self.at.planned}, saved",
                      where=str(self.snapshots.folder), fix="the same command continues from here")

    def end(self, reason: StoppedBy) -> None:
        """A budget ends the run here: the time for this validation was kept."""
        if self.at.step == 0:
            raise BudgetError(f"not one step fits in the {reason} budget", fix=_MORE)
        if self.validate and self.at.validated_at != self.at.step:
            self.measure()
        self.at.stopped_by = reason

    def close(self) -> None:
        """Say and save how the run ended, so that it is not run again."""
        self.frozen.check()
        if self.at.curve and not any(point.learning_rate > 0 for point in self.at.curve):
            raise GuardError("the learning rate was never above zero", where=f"{self.at.step} steps",
                             fix="choose another schedule, or a larger learning_rate")
        if self.validate and self.at.best_step == 0:
            self.warn("no step was better on validation than the start: the weights are those of the start")
        self.save()

    def result(self) -> TrainResult:
        """Put the best weights into the model, and tell what was done."""
        assert self.at.stopped_by is not None
        if self.best_state:
            put_back(self.moving, self.best_state)
            check_put_back(self.moving, self.best_state)
        self.optimizer.zero_grad(set_to_none=True)
        self.model.eval()
        self.objective.conclude(self.model, self.data, pad_id=self.pad_id, meter=self.meter,
                                micro_tokens=self.options.micro_tokens)
        result = TrainResult(
            curve=tuple(self.at.curve), steps=self.at.step, planned=self.at.first_plan, stopped_by=self.at.stopped_by,
            best_step=self.at.best_step if self.validate else self.at.step, validation=self.at.best,
            validation_before=self.at.validation_before, seconds=self.seconds(), tokens=self.at.tokens,
            trainable=self.work.moving, computed=self.computed(), warnings=tuple(self.at.warnings))
        self.log("finished", **result.model_dump(mode="json", exclude={"curve"}))
        return result

    def log(self, event: str, **facts: object) -> None:
        if self.ledger:
            self.ledger.write(f"train {event}", **facts)

    def warn(self, text: str) -> None:
        if text not in self.at.warnings:
            self.at.warnings.append(text)
            warn(text)


def _content(example: Encoded) -> list[object]:
    """What of an example decides the result; what was measured on it follows from the model."""
    second = [_content(example.second)] if example.second else []
    wanted = [] if example.wanted is None else [example.wanted]
    return [example.ids, example.trained, example.target, *second, *wanted]


def _tokens_left(meter: Meter | None) -> float:
    """Tokens left of the tightest token budget, of this part or of those around it."""
    left = math.inf
    while meter is not None:
        if meter.budget.tokens is not None:
            left = min(left, meter.budget.tokens - meter.bill().tokens_backward)
        meter = meter.parent
    return left
