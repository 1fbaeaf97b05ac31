import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from scrimp.core.errors import OptionError
from scrimp.core.registry import build, presets

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
