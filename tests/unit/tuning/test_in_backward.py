"""The optimizer's step in the backward pass: the same to the bit, or refused."""

import math

import pytest
import torch
from test_guards import PoisonedSFT
from test_trainer import HungrySFT

from scrimp.core import interrupts
from scrimp.core.errors import BudgetError, GuardError, OptionError, Stopped
from scrimp.core.registry import build
from scrimp.tuning.adapters import trainable, trainable_state
from scrimp.tuning.inbackward import InBackward


@pytest.fixture
def full(causal_folder):
    """A fresh copy of the language model, of which all moves, at each call."""
    from transformers import AutoModelForCausalLM

    def attached(dtype=torch.float32, adapter="full"):
        return build("adapter", adapter).attach(AutoModelForCausalLM.from_pretrained(causal_folder, dtype=dtype))

    return attached


@pytest.fixture
def ends(full, data, fit, tmp_path):
    """The weights after the usual run and after one with the step in the backward pass; ``spoil`` plants a fault."""

    def run(*, dtype=torch.float32, adapter="full", optimizer=None, optimizer_options=None, spoil=lambda model: None,
            objective=lambda: "sft", **options):
        for within in (False, True):
            model = full(dtype, adapter)
            spoil(model)
            method = build("optimizer", optimizer, {"learning_rate": 5e-3, **optimizer_options}) if optimizer else None
            result = fit(model, data, folder=tmp_path / str(within), clip=None, step_in_backward=within,
                         optimizer=method, objective=objective(), **options)
            yield trainable_state(model), result

    return run


def same(runs):
    (one, first), (other, second) = runs
    assert [p.loss for p in first.curve] == [p.loss for p in second.curve]
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize(("optimizer", "options"), [
    ("adamw", {"weight_decay": 0.1}), ("adamw", {"state_bits": 8}), ("galore", {"projection_every": 2}),
    ("lisa", {"layers_at_once": 1, "redraw_every": 2})])
def test_every_optimizer_moves_the_same(ends, optimizer, options):
    assert same(ends(optimizer=optimizer, optimizer_options=options))


@pytest.mark.parametrize("options", [
    {"dtype": torch.bfloat16}, {"fast": False}, {"recompute": True}, {"adapter": "lora"},
    {"dtype": torch.bfloat16, "fast": False, "recompute": True}])
def test_every_way_of_computing_moves_the_same(ends, options):
    assert same(ends(**options))


def test_gradients_are_never_all_there(full, data, fit, monkeypatch):
    model, there, usual = full(), [], InBackward._move

    def watched(self, name, count, parameter):
        there.append(sum(p.grad is not None for p in model.parameters()))
        usual(self, name, count, parameter)

    monkeypatch.setattr(InBackward, "_move", watched)
    fit(model, data, clip=None, step_in_backward=True, steps=2)
    assert there == [1] * (2 * len(trainable(model)))
    assert all(p.grad is None and not p._post_accumulate_grad_hooks for p in model.parameters())


def spoiling(call: int):
    """Makes the gradient of a tensor in the middle not a number, at one call of its hook."""
    def spoil(model):
        calls = []

        def hook(gradient):
            calls.append(1)
            return gradient * math.nan if len(calls) == call else gradient

        trainable(model)["model.layers.1.mlp.up_proj.weight"].register_hook(hook)

    return spoil


def test_a_gradient_that_is_not_finite_is_rewound_as_usual(ends):
    runs = list(ends(spoil=spoiling(4), checkpoint_every_steps=2, steps=6))
    assert all("norm is nan" in result.warnings[0] and result.steps == 6 for _, result in runs)
    assert same(runs)


@pytest.mark.parametrize("by", ["nan", "inf", "1000"])
def test_a_bad_loss_is_rewound_as_usual(ends, by):
    runs = list(ends(objective=lambda: PoisonedSFT(calls=(7,), by=by), checkpoint_every_steps=3, steps=10))
    assert all("rewound to step 6" in result.warnings[0] for _, result in runs)
    assert same(runs)


def test_a_gradient_that_is_never_finite_moves_nothing(full, data, fit):
    model = full()
    before = trainable_state(model)
    trainable(model)["model.layers.1.mlp.up_proj.weight"].register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(GuardError, match="norm is nan"):
        fit(model, data, clip=None, step_in_backward=True)
    assert all(torch.equal(p, before[n]) for n, p in trainable(model).items())


def test_a_tensor_without_gradient_is_told(full, data, fit):
    model = full()
    model.register_parameter("idle", torch.nn.Parameter(torch.ones(3)))
    with pytest.raises(GuardError, match="1 of the tensors") as caught:
        fit(model, data, clip=None, step_in_backward=True)
    assert caught.value.where == "idle"


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(full, data, fit, tmp_path, monkeypatch):
    method = build("optimizer", "adamw", {"state_bits": 8, "learning_rate": 5e-3})
    broken, continued, unbroken = full(), full(), full()
    options = {"clip": None, "step_in_backward": True, "optimizer": method}
    asked = iter([False] * 3 + [True])
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="step 3"):
        patch.setattr(interrupts, "stop_requested", lambda: next(asked))
        fit(broken, data, folder=tmp_path / "broken", **options)
    fit(continued, data, folder=tmp_path / "broken", **options)
    fit(unbroken, data, folder=tmp_path / "unbroken", **options)
    one, other = trainable_state(continued), trainable_state(unbroken)
    assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("clipping", ["global-norm", "component-wise"])
def test_norms_over_several_tensors_are_refused(full, data, fit, clipping):
    with pytest.raises(OptionError, match="clip: null"):
        fit(full(), data, step_in_backward=True, clipping=clipping)


def test_a_step_of_several_parts_is_refused(full, data, fit):
    whole = 4 * max(len(row.ids) for row in data)
    with pytest.raises(OptionError, match=f"micro_tokens: {whole}"):
        fit(full(), data, clip=None, step_in_backward=True, micro_tokens=whole - 1)
    fit(full(), data, clip=None, step_in_backward=True, micro_tokens=whole, steps=1)


def test_a_step_that_does_not_fit_in_memory_is_told(full, data, fit):
    with pytest.raises(BudgetError, match="smaller batch_size"):
        fit(full(), data, clip=None, step_in_backward=True, objective=HungrySFT())
