"""What is wrong with a training: its loss, its gradient, its steps, and where it goes on."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.torture.faults.planting import At, Fault, by, planted
from tests.torture.materials import ROWS, lines

__all__ = ["TRAINING"]


def _objective(change: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    """SFT whose loss is changed; told how often it was asked."""
    def made(loss: Any) -> Any:
        calls = [0]

        def wrong(self: Any, model: Any, batch: Any) -> Any:
            calls[0] += 1
            return change(loss(self, model, batch), calls[0])

        return wrong

    return made


def _mean(loss: Any, _: int) -> Any:
    return replace(loss, total=loss.total / max(loss.count, 1), count=1)


def _nan_from(first: int) -> Callable[[Any, int], Any]:
    return lambda loss, call: replace(loss, total=loss.total * float("nan")) if call >= first else loss


_LOSS = "scrimp.tuning.objectives.sft:SFT.loss"


_PREDICTED = "scrimp.tuning.objectives.tokens:predicted"


def _shifted(predicted: Any) -> Any:
    def wrong(batch: Any) -> Any:
        rows, positions, _ = predicted(batch)
        return rows, positions, batch.input_ids[rows, positions]

    return wrong


def _prompts_too(predicted: Any) -> Any:
    return lambda batch: predicted(replace(batch, trained=batch.attention_mask.bool()))


def _mixed_states(states_at: Any) -> Any:
    def wrong(*given: Any) -> Any:
        found = states_at(*given)
        return found + 0.3 * found.mean(dim=0)

    return wrong


def _pads_attended(collate: Any) -> Any:
    def wrong(*given: Any, **named: Any) -> Any:
        made = collate(*given, **named)
        return replace(made, attention_mask=made.attention_mask * 0 + 1)

    return wrong


def _optimizer(change: Callable[[Any, Any], None]) -> Callable[[Any], Any]:
    """An optimizer whose ``step`` is followed, or replaced, by something else."""
    def made(build: Any) -> Any:
        def wrong(self: Any, named: Any, steps: int) -> Any:
            named = list(named)
            optimizer = build(self, named, steps)
            change(optimizer, named)
            return optimizer

        return wrong

    return made


def _skips(optimizer: Any, named: Any) -> None:
    optimizer.step = lambda *_, **__: None


_BUILD = "scrimp.tuning.optimizers.adamw:AdamW.build"


def _cut_graph(attach: Any) -> Any:
    def wrong(self: Any, model: Any, **named: Any) -> Any:
        adapted = attach(self, model, **named)
        layer = next(m for name, m in adapted.named_modules() if name.endswith("q_proj.lora_A.default"))
        layer.register_forward_hook(lambda module, inputs, output: output.detach())
        return adapted

    return wrong


def _frozen_moves(at: At) -> Any:
    """A weight of the frozen base drifts while it is trained."""
    import torch

    held: list[Any] = []

    def attached(attach: Any) -> Any:
        def wrong(self: Any, model: Any, **named: Any) -> Any:
            adapted = attach(self, model, **named)
            held[:] = [p for name, p in adapted.named_parameters() if "down_proj" in name and not p.requires_grad]
            return adapted

        return wrong

    def drift(optimizer: Any, named: Any) -> None:
        step = optimizer.step

        def stepped(*given: Any, **more: Any) -> Any:
            with torch.no_grad():
                for p in held:
                    p.add_(0.2 * torch.randn(p.shape))
            return step(*given, **more)

        optimizer.step = stepped

    with planted("scrimp.tuning.adapters.lora:LoRA.attach", attached), planted(_BUILD, _optimizer(drift)):
        return at.tune()


def _nan_at_the_end(optimizer: Any, named: Any) -> None:
    """The last of eight steps leaves a weight that is NaN."""
    import torch

    step, calls = optimizer.step, [0]

    def stepped(*given: Any, **more: Any) -> Any:
        told = step(*given, **more)
        calls[0] += 1
        if calls[0] == 8:
            with torch.no_grad():
                named[0][1].mul_(float("nan"))
        return told

    optimizer.step = stepped


def _resumed_elsewhere(at: At) -> Any:
    """A training goes on in a folder with the checkpoint of other rows, which the step's address would keep apart."""
    with planted("scrimp.core.workspace:Workspace._address", lambda _: staticmethod(lambda kind, inputs: f"{kind}-0")):
        with planted("scrimp.planning.ladder:outcome", lambda _: _stopping), contextlib.suppress(_Stop):
            at.tune()
        shutil.rmtree(at.folder / "out", ignore_errors=True)
        rows = at.folder / "other.jsonl"
        rows.write_text(lines([{**row, "text": f"other {row['text']}"} for row in ROWS]))
        import scrimp

        return scrimp.tune(str(rows), out=at.folder / "out", workspace=at.folder / "space", rank=2, steps=8,
                           batch_size=4, learning_rate=5e-2, model=str(at.loud()),
                           test=str(at.good / "rows" / "test.jsonl"))


class _Stop(Exception):
    pass


def _stopping(*given: Any, **named: Any) -> Any:
    raise _Stop


def _stale_step(at: At) -> Any:
    """The workspace takes a finished step of other rows for this one."""
    import scrimp

    with planted("scrimp.core.workspace:Workspace._address", lambda _: staticmethod(lambda kind, inputs: f"{kind}-0")):
        at.tune()
        rows = at.folder / "other.jsonl"
        rows.write_text(lines([{**row, "text": f"other {row['text']}"} for row in ROWS]))
        return scrimp.tune(str(rows), out=at.folder / "second", workspace=at.folder / "space", rank=2, steps=8,
                           batch_size=4, learning_rate=5e-2, model=str(at.loud()),
                           test=str(at.good / "rows" / "test.jsonl"))


def _fast_is_other(states: Any) -> Any:
    return lambda self, *given: 1.2 * states(self, *given)


def _weights_not_put_back(at: At) -> Any:
    """The weights that ship are the last and not the best; where none was better, these differ."""
    with planted("scrimp.tuning.trainer:put_back", lambda _: lambda *given: None):
        return at.tune("pairs", validate_every=2, patience=2, steps=40, learning_rate=0.5)


def _seeds_ignored(at: At) -> Any:
    """Two seeds are one."""
    import scrimp

    with planted("scrimp.tuning.sampling.base:Shuffled.__init__", lambda init: lambda self, count, *, batch_size, seed:
                  init(self, count, batch_size=batch_size, seed=0)), \
            planted("scrimp.tuning.adapters.lora:LoRA.attach", lambda attach: lambda self, model, *, seed=0:
                     attach(self, model, seed=0)):
        return [scrimp.tune(str(at.good / "rows" / "train.jsonl"), out=at.folder / f"out-{seed}", seed=seed, rank=2,
                            workspace=at.folder / "space", model=str(at.good / "causal"), steps=4, batch_size=4,
                            test=str(at.good / "rows" / "test.jsonl")) for seed in (1, 2)]


_GUARDS, _BEFOREHAND = "scrimp.tuning.guards", "scrimp.tuning.beforehand"


TRAINING: tuple[Fault, ...] = (
    Fault("the loss is that of the token itself, not the next", by(_PREDICTED, _shifted, At.tune),
          f"{_BEFOREHAND}.check_loss", "computed plainly"),
    Fault("the loss counts the prompt too", by(_PREDICTED, _prompts_too, At.tune), f"{_BEFOREHAND}.check_loss",
          "computed plainly"),
    Fault("padding is attended to", by("scrimp.examples.batching:collate", _pads_attended, At.pooled),
          f"{_BEFOREHAND}.check_apart", "beside other tokens|together and of"),
    Fault("rows see the rows beside them", by("scrimp.tuning.objectives.tokens:states_at", _mixed_states, At.tune),
          f"{_BEFOREHAND}.check_apart", "beside other tokens|together and of|computed plainly"),
    Fault("micro-batches are averaged, and then their means", by(_LOSS, _objective(_mean), At.tune),
          f"{_BEFOREHAND}.check_loss", "together and of"),
    Fault("the fast path computes something else",
          by("scrimp.compute.decoder:Packed.states", _fast_is_other, At.tune),
          "scrimp.tuning.fastpath: states are computed both ways", "apart from the usual ones"),
    Fault("a layer's graph is cut", by("scrimp.tuning.adapters.lora:LoRA.attach", _cut_graph, At.tune),
          f"{_GUARDS}.DeadGradient", "never have a gradient"),
    Fault("the loss is NaN after some steps", by(_LOSS, _objective(_nan_from(12)), At.tune),
          f"{_GUARDS}.fault, three rewinds", "does not hold"),
    Fault("the last step leaves NaN", by(_BUILD, _optimizer(_nan_at_the_end), At.tune),
          "finite numbers wherever a model is asked", "finite|NaN|nan"),
    Fault("the optimizer skips its steps", by(_BUILD, _optimizer(_skips), lambda at: at.full()), f"{_GUARDS}.Unmoved",
          "moves nothing"),
    Fault("the learning rate is zero",
          by("scrimp.tuning.optimizers.schedules:WarmupDecay.factor", lambda _: lambda self, step, steps: 0.0,
              lambda at: at.full(schedule="cosine")), f"{_GUARDS}.Unmoved", "never above zero|moves nothing"),
    Fault("a frozen weight moves", _frozen_moves, f"{_GUARDS}.Frozen", "moved that are frozen"),
    Fault("a run goes on from what was made of other rows", _resumed_elsewhere,
          "scrimp.core.workspace.Workspace.step: its inputs", "other inputs|other data"),
    Fault("a finished step of other rows is taken", _stale_step, "scrimp.core.workspace.Workspace.step: its inputs",
          "other inputs"),
    Fault("the best weights are not put back", _weights_not_put_back, f"{_GUARDS}.check_put_back",
          "not those of the best step"),
    Fault("the seed is ignored", _seeds_ignored, f"{_GUARDS}.check_seed", "in the same order"),
)
