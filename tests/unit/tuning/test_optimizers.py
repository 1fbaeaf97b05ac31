import itertools
import json
import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build, presets
from scrimp.tuning.snapshots import _apart, optimizer_state, restore_optimizer

NAMES = ["cosine", "linear", "constant", "wsd"]


def test_weight_decay_spares_biases_and_norms():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    optimizer = build("optimizer", "adamw", {"weight_decay": 0.1}).build(model.named_parameters(), 10)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {n: decays[id(p)] for n, p in model.named_parameters()} == {
        "0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}


def test_adamw_is_torch_s():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    mine = build("optimizer", "adamw", {"learning_rate": 0.1}).build(ours.named_parameters(), 5)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.0)
    x = torch.randn(8, 3)
    for _ in range(5):
        for model, optimizer in ((ours, mine), (theirs, other)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(steps=st.integers(1, 2000), warmup=st.floats(0, 0.9), floor=st.floats(0, 1))
def test_a_schedule_rises_once_and_falls_once(name, steps, warmup, floor):
    schedule = build("schedule", name, {"warmup": warmup, "floor": floor})
    factors = [schedule.factor(step, steps) for step in range(steps + 1)]
    rising = math.ceil(warmup * steps)
    assert all(0 <= f <= 1 for f in factors)
    assert all(a < b for a, b in itertools.pairwise(factors[:rising]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(factors[rising:]))
    assert factors[0] > 0


@pytest.mark.parametrize("name", NAMES)
def test_endpoints(name):
    schedule = build("schedule", name, {"floor": 0.1})
    assert schedule.factor(0, 1000) == pytest.approx(1 / 51)
    assert schedule.factor(50, 1000) == 1.0
    assert schedule.factor(1000, 1000) == pytest.approx(1.0 if name == "constant" else 0.1)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_no_leaps(name):
    schedule = build("schedule", name)
    factors = [schedule.factor(step, 1000) for step in range(1001)]
    assert max(abs(a - b) for a, b in itertools.pairwise(factors)) < 0.021


def test_halfway_down():
    for name in ("cosine", "linear"):
        assert build("schedule", name, {"warmup": 0.0}).factor(50, 100) == pytest.approx(0.5)


def test_wsd_stays_and_then_falls_at_the_end():
    schedule = build("schedule", "wsd", {"decay": 0.2})
    assert {schedule.factor(step, 100) for step in range(5, 81)} == {1.0}
    assert schedule.factor(85, 100) == pytest.approx(0.5)  # 1 - sqrt(5 / 20)
    assert schedule.factor(100, 100) == 0.0


def test_wsd_names_its_paper():
    assert {p.name: p.papers for p in presets("schedule")}["wsd"] == (21,)


def test_a_run_that_only_warms_up_is_refused():
    with pytest.raises(OptionError, match="warmup"):
        build("schedule", "cosine", {"warmup": 1.0})


# GaLore -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_galore_is_the_paper_s(shape):
    """Textbook Adam in the basis of the gradient's leading singular vectors, found every other step."""
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(shape))
    options = {"projection_rank": 2, "projection_every": 2, "projection_scale": 0.5, "learning_rate": 0.1,
               "weight_decay": 0.01}
    optimizer = build("optimizer", "galore", options).build([("layer.weight", parameter)], 5)
    weight, mean, square = parameter.detach().clone(), 0.0, 0.0
    for step in range(1, 6):
        parameter.grad = torch.randn(shape)
        optimizer.step()
        g = parameter.grad if shape[0] < shape[1] else parameter.grad.T
        basis = optimizer.state[parameter]["projector"]  # its signs are open, and what the means are kept in
        if step % 2 == 1:
            leading = torch.linalg.svd(g).U[:, :2]
            torch.testing.assert_close(basis @ basis.T, leading @ leading.T, atol=1e-4, rtol=1e-4)
        small = basis.T @ g
        mean, square = 0.9 * mean + 0.1 * small, 0.999 * square + 0.001 * small**2
        update = basis @ (mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8))
        weight = weight * (1 - 0.1 * 0.01) - 0.1 * 0.5 * (update if shape[0] < shape[1] else update.T)
        torch.testing.assert_close(parameter.detach(), weight, atol=1e-5, rtol=1e-4)


def test_what_galore_does_not_project_is_adamw_s():
    shapes = {"model.embed_tokens.weight": (30, 20), "lm_head.weight": (30, 20), "norm.weight": (20,),
              "small.weight": (8, 40)}
    torch.manual_seed(0)
    ours = {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
    theirs = {name: nn.Parameter(p.detach().clone()) for name, p in ours.items()}
    options = {"learning_rate": 0.1, "weight_decay": 0.1}
    optimizers = [build("optimizer", name, options).build(parameters.items(), 3)
                  for name, parameters in (("galore", ours), ("adamw", theirs))]
    for _ in range(3):
        for name, shape in shapes.items():
            ours[name].grad = torch.randn(shape)
            theirs[name].grad = ours[name].grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, theirs[name], atol=1e-6, rtol=1e-5)


# moments in eight bits --------------------------------------------------------------------------------------------

def drawn(*shapes):
    torch.manual_seed(0)
    return {f"{number}.weight": nn.Parameter(torch.randn(shape)) for number, shape in enumerate(shapes)}


def stepped(optimizer, parameters, steps):
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in parameters.values():
            parameter.grad = 0.01 * torch.randn(parameter.shape, generator=draw)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in parameters.values()])


def test_eight_bit_moments_move_as_full_ones_do():
    """The first step is AdamW's own, since what is coded is used at the next; then they stay near it."""
    options = {"learning_rate": 0.01, "weight_decay": 0.1}
    ends = {}
    for bits, steps in ((32, 1), (8, 1), (32, 30), (8, 30)):
        parameters = drawn((80, 64), (10, 10), (64,))
        optimizer = build("optimizer", "adamw", {**options, "state_bits": bits}).build(parameters.items(), 30)
        start = torch.cat([p.detach().flatten() for p in parameters.values()])
        ends[bits, steps] = stepped(optimizer, parameters, steps) - start
    torch.testing.assert_close(ends[8, 1], ends[32, 1], atol=1e-6, rtol=1e-4)
    apart = float((ends[8, 30] - ends[32, 30]).norm() / ends[32, 30].norm())
    assert 1e-4 < apart < 0.05


def test_eight_bit_moments_are_as_large_as_they_say():
    parameters = drawn((80, 65), (4096,), (4095,))
    method = build("optimizer", "adamw", {"state_bits": 8})
    optimizer = method.build(parameters.items(), 2)
    stepped(optimizer, parameters, 2)
    held = sum(t.numel() * t.element_size() for entries in optimizer.state.values() for name, t in entries.items()
               if isinstance(t, torch.Tensor) and not name.startswith("qmap"))  # the tables of codes are there once
    assert method.cost(parameters.items()).state_bytes == held + 4  # and torch's count of steps is a tensor
    assert held < 0.3 * build("optimizer", "adamw").cost(list(parameters.items())[:2]).state_bytes + 8 * 4095


def test_eight_bit_moments_are_saved_and_come_back_as_they_were():
    ends = []
    for broken in (False, True):
        parameters = drawn((80, 64), (10, 10))
        method = build("optimizer", "adamw", {"state_bits": 8})
        optimizer = method.build(parameters.items(), 6)
        stepped(optimizer, parameters, 3)
        if broken:
            tensors, facts = optimizer_state(optimizer)
            assert {"0.state1", "0.absmax2", "1.state2"} <= tensors.keys()
            optimizer = method.build(parameters.items(), 6)
            restore_optimizer(optimizer, load(save(_apart(tensors))), json.loads(json.dumps(facts)))
        ends.append(stepped(optimizer, parameters, 3))
    assert torch.equal(*ends)


def test_without_bitsandbytes_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scrimp.tuning.optimizers.lowbit", None)
    with pytest.raises(OptionError, match=r"scrimp\[quantized\]"):
        build("optimizer", "adamw", {"state_bits": 8}).build(drawn((4, 4)).items(), 1)


# LISA -------------------------------------------------------------------------------------------------------------

def layered(count=5):
    model = nn.Module()
    model.embed, model.layers = nn.Linear(3, 3), nn.ModuleList(nn.Linear(3, 3) for _ in range(count))
    return model


def test_lisa_moves_a_few_layers_at_a_time_and_keeps_no_state_of_the_others():
    model = layered()
    optimizer = build("optimizer", "lisa", {"layers_at_once": 2, "redraw_every": 3}).build(model.named_parameters(), 60)
    seen = []
    for step in range(60):
        optimizer.enter_step(step)
        free = {i for i, layer in enumerate(model.layers) if layer.weight.requires_grad}
        assert len(free) == 2
        assert model.embed.weight.requires_grad
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
        optimizer.step()
        held = {i for i, layer in enumerate(model.layers) if layer.weight in optimizer.state}
        assert held == free
        seen.append(frozenset(free))
    assert all(len(set(seen[i:i + 3])) == 1 for i in range(0, 60, 3))
    assert set().union(*seen) == set(range(5))


def test_lisa_s_draw_is_of_the_seed_and_the_step():
    def draws(seed, steps):
        torch.manual_seed(seed)
        model = layered()
        optimizer = build("optimizer", "lisa").build(model.named_parameters(), 100)
        found = []
        for step in steps:
            optimizer.enter_step(step)
            found.append([layer.weight.requires_grad for layer in model.layers])
        return found

    assert draws(1, [0, 20, 40, 60]) == draws(1, [60, 40, 20, 0])[::-1] != draws(2, [0, 20, 40, 60])


def test_lisa_needs_more_layers_than_it_moves():
    with pytest.raises(ModelError, match="2 layers"):
        build("optimizer", "lisa").build(layered(2).named_parameters(), 10)


# clipping ---------------------------------------------------------------------------------------------------------

def with_gradients(scales):
    parameters = {name: nn.Parameter(torch.zeros(4)) for name in scales}
    for name, scale in scales.items():
        parameters[name].grad = torch.full((4,), scale)
    return parameters


def test_one_norm_is_torch_s_to_the_bit():
    ours, theirs = (with_gradients({"a.weight": 3.0, "b.weight": 0.1}) for _ in range(2))
    norm = build("clipping", "global-norm").bound(ours.items())
    assert norm == float(nn.utils.clip_grad_norm_(theirs.values(), 1.0))
    assert all(torch.equal(ours[name].grad, theirs[name].grad) for name in ours)


def test_each_kind_of_component_has_a_norm_of_its_own():
    named = with_gradients({"model.layers.0.q_proj.weight": 3.0, "model.layers.1.q_proj.weight": 4.0,
                            "model.layers.0.up_proj.weight": 0.1, "model.layers.1.up_proj.weight": 0.1})
    norm = build("clipping", "component-wise").bound(named.items())
    first, second, *others = (p.grad for p in named.values())
    assert torch.allclose(first, torch.full((4,), 0.3))  # 3 of the norm 10 of both query projections
    assert torch.allclose(second, torch.full((4,), 0.4))
    assert all(torch.equal(g, torch.full((4,), 0.1)) for g in others)
    assert norm == pytest.approx(math.sqrt(100 + 0.08))


def test_no_bound_leaves_gradients_as_they_are():
    named = with_gradients({"a.weight": 3e6})
    assert build("clipping", "component-wise", {"clip": None}).bound(named.items()) == pytest.approx(6e6)
    assert torch.equal(named["a.weight"].grad, torch.full((4,), 3e6))
