"""What every choice of a training plan must do that follows its steps, third parties' included."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from scrimp.core import interrupts
from scrimp.core.budget import Meter
from scrimp.core.errors import Stopped
from scrimp.core.registry import Preset, presets
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable, trainable_state
from scrimp.tuning.optimizers import Stepped
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.validation import mean_loss

ROWS = [Encoded(ids=[10 + i % 2, *range(20, 25 + i), 100 + i % 2, 2], trained=[False] * (6 + i) + [True] * 2, row=i)
        for i in range(8)]

of_optimizers = pytest.mark.parametrize("preset", presets("optimizer"), ids=lambda p: p.name)
of_schedules = pytest.mark.parametrize("preset", presets("schedule"), ids=lambda p: p.name)
of_clippings = pytest.mark.parametrize("preset", presets("clipping"), ids=lambda p: p.name)
FOLLOWING = ("optimizer", "schedule", "clipping", "packing", "sampling", "weighting")
of_all = pytest.mark.parametrize("preset", [p for f in FOLLOWING for p in presets(f)], ids=lambda p: p.name)


class Runs:
    """Runs of the method on a tiny model of four layers, all of which moves."""

    def __init__(self, folder: Path, model_folder: Path) -> None:
        self.folder, self.model_folder = folder, model_folder

    def plan(self, preset: Preset, **options: object) -> TunePlan:
        return TunePlan.parse({"adapter": "full", preset.family: preset.name, "learning_rate": 0.01, "steps": 8,
                               "batch_size": 4, "micro_tokens": 60, **options})

    def start(self, preset: Preset, dtype: torch.dtype = torch.float32) -> nn.Module:
        return self.plan(preset).attach(AutoModelForCausalLM.from_pretrained(self.model_folder, dtype=dtype))

    def run(self, preset: Preset, name: str = "run", dtype: torch.dtype = torch.float32,
            **options: object) -> nn.Module:
        model, before = self.start(preset, dtype), torch.get_rng_state()
        self.plan(preset, **options).train(model, ROWS, pad_id=0, folder=self.folder / name, meter=Meter())
        assert torch.equal(torch.get_rng_state(), before)  # the process's own random state is left alone
        return model


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny

    return tiny.causal(tmp_path_factory.mktemp("deep"), layers=4)


@pytest.fixture
def runs(tmp_path: Path, deep: Path) -> Runs:
    return Runs(tmp_path, deep)


def same(one: nn.Module, other: nn.Module) -> bool:
    states = trainable_state(one), trainable_state(other)
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][n], states[1][n]) for n in states[0])


@of_all
def test_it_trains_and_gives_back_a_model_of_which_all_can_move(preset: Preset, runs: Runs) -> None:
    plan = runs.plan(preset)
    before = mean_loss(runs.start(preset), ROWS, objective=plan.objective, pad_id=0, micro_tokens=1000)
    tuned = runs.run(preset)
    assert mean_loss(tuned, ROWS, objective=plan.objective, pad_id=0, micro_tokens=1000) < before - 0.1
    assert trainable(tuned).keys() == trainable(runs.start(preset)).keys()


@of_all
def test_a_bfloat16_model_has_float32_masters_that_move(preset: Preset, runs: Runs) -> None:
    tuned, start = runs.run(preset, dtype=torch.bfloat16), trainable_state(runs.start(preset, torch.bfloat16))
    assert {value.dtype for value in tuned.parameters()} == {torch.float32}
    assert any(not torch.equal(value, start[name]) for name, value in trainable_state(tuned).items())


@of_all
def test_the_same_seed_gives_the_same_bits(preset: Preset, runs: Runs) -> None:
    assert same(runs.run(preset, "one", seed=3), runs.run(preset, "two", seed=3))


@of_all
@pytest.mark.parametrize("after", [2, 5])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(preset: Preset, runs: Runs, after: int) -> None:
    """Its state is tensors and plain numbers: the checkpoint holds no pickle."""
    asked = iter([False] * after + [True])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match=f"step {after}"):
        patch.setattr(interrupts, "stop_requested", lambda: next(asked))
        runs.run(preset, "broken")
    files = {path.suffix for path in (runs.folder / "broken").rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors"}
    assert same(runs.run(preset, "broken"), runs.run(preset, "unbroken"))


@of_all
def test_how_a_step_is_cut_changes_nothing(preset: Preset, runs: Runs) -> None:
    """Whatever a method does with a gradient, it does with that of the whole step."""
    start, whole, cut = (trainable_state(model) for model in (
        runs.start(preset), runs.run(preset, "whole", micro_tokens=1000, steps=1),
        runs.run(preset, "cut", micro_tokens=1, steps=1)))
    moved = torch.cat([(whole[n] - start[n]).flatten() for n in start])
    apart = torch.cat([(whole[n] - cut[n]).flatten() for n in start])
    assert float(moved.norm()) > 0
    assert float(apart.norm()) < 0.05 * float(moved.norm())  # Adam's first step is a sign, which rounding may turn


@of_optimizers
def test_the_state_is_as_large_as_it_says(preset: Preset, runs: Runs) -> None:
    """At its largest, between steps."""
    model, method = runs.start(preset), preset.build()
    optimizer = method.build(trainable(model).items(), 60)
    largest = 0
    for step in range(60):
        if isinstance(optimizer, Stepped):
            optimizer.enter_step(step)
        for value in model.parameters():
            value.grad = torch.randn_like(value) if value.requires_grad else None
        optimizer.step()
        held = [t for entries in optimizer.state.values() for t in entries.values() if isinstance(t, torch.Tensor)]
        largest = max(largest, sum(t.numel() * t.element_size() for t in held))
    said = method.cost(trainable(runs.start(preset)).items()).state_bytes
    assert said == largest or (said is None and not type(method).__module__.startswith("scrimp."))


@of_optimizers
def test_no_gradient_no_learning_rate_no_step(preset: Preset, runs: Runs) -> None:
    model, method = runs.start(preset), preset.build()
    optimizer = method.build(trainable(model).items(), 10)
    start = trainable_state(model)
    optimizer.step()
    for value in model.parameters():
        value.grad = torch.randn_like(value)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert all(torch.equal(value, start[name]) for name, value in trainable_state(model).items())


@of_schedules
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_factors_are_shares_of_the_rate(preset: Preset, steps: int) -> None:
    factors = [preset.build().factor(step, steps) for step in range(steps)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) > 0
    assert factors == [preset.build().factor(step, steps) for step in range(steps)]


@of_clippings
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_gradients_keep_their_direction_and_their_norm_is_told(preset: Preset, runs: Runs, scale: float) -> None:
    model = runs.start(preset)
    torch.manual_seed(0)
    for value in model.parameters():
        value.grad = scale * torch.randn_like(value)
    before = {name: value.grad.clone() for name, value in model.named_parameters()}
    norm = preset.build().bound(model.named_parameters())
    assert norm == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in before.values())), rel=1e-4)
    for name, value in model.named_parameters():
        assert float(value.grad.norm()) <= float(before[name].norm()) * (1 + 1e-6)
        assert float(nn.functional.cosine_similarity(value.grad.flatten(), before[name].flatten(), dim=0)) > 0.999


@of_clippings
def test_what_is_not_a_number_is_told(preset: Preset, runs: Runs) -> None:
    model = runs.start(preset)
    for value in model.parameters():
        value.grad = torch.full_like(value, math.nan)
    assert not math.isfinite(preset.build().bound(model.named_parameters()))
