"""Selectors that train a little first: LESS derived anew, what Adam would do, and trajectories."""

import copy
import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from scrimp.checkpoints.loading import resolve
from scrimp.core.budget import Meter
from scrimp.core.registry import build
from scrimp.data.selection.gradient import GradientSimilarity, influence
from scrimp.data.selection.trajectories import alignment
from scrimp.examples.formats import read
from scrimp.signals import Signals
from scrimp.signals.gradients import Gradients, Moments
from scrimp.tuning.adapters.base import trainable
from scrimp.tuning.plan import TunePlan

POOL = read([{"prompt": f"{a} + {b}", "completion": str(a + b)} for a in range(3) for b in range(3)])
TARGET = read([{"text": text, "label": label} for text, label in
               (("good film", "x"), ("bad film", "y"), ("lazy dog", "x"))])
OPTIONS = {"share": 0.6, "epochs": 2, "rank": 2, "learning_rate": 5e-3, "batch_size": 2}


@pytest.fixture
def signals(encoder_folder, causal_folder):
    return Signals(resolve(encoder_folder), model=resolve(causal_folder), meter=Meter())


def digest(model):
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode() + value.float().numpy().tobytes())
    return found.hexdigest(), [name for name, _ in model.named_modules()], \
        [value.requires_grad for value in model.parameters()], model.training


def gradient(model, row):
    """Of the mean loss of the trained tokens, by name."""
    logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1].log_softmax(-1)
    losses = [-logits[i - 1, row.ids[i]] for i in range(1, len(row.ids)) if row.trained[i]]
    model.zero_grad()
    (sum(losses) / len(losses)).backward()
    return {name: value.grad.clone() for name, value in trainable(model).items()}


def flat(parts):
    return torch.cat([part.reshape(-1) for part in parts.values()]).double()


def adam_move(model, stage, row, rate):
    """What torch's Adam, continued from the stage, takes off the weights for this row's gradient, over the rate."""
    twin = copy.deepcopy(model)
    named = trainable(twin)
    optimizer = torch.optim.Adam(named.values(), lr=rate)
    for name, value in named.items():
        first, second = stage.adam.first[name].clone(), stage.adam.second[name].clone()
        optimizer.state[value] = {"step": torch.tensor(float(stage.adam.step)), "exp_avg": first, "exp_avg_sq": second}
    found = gradient(model, row)
    for name, value in named.items():
        value.grad = found[name]
    before = {name: value.detach().clone() for name, value in named.items()}
    optimizer.step()
    return {name: (before[name] - value.detach()) / rate for name, value in named.items()}


def unprojected(model, encoded, *, moments=None, **_):
    """All of each gradient, or of Adam's step for it, in place of its shadow."""
    found, moving = [], trainable(model)
    for row in encoded:
        logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1]
        trained = torch.tensor(row.trained[1:])
        loss = F.cross_entropy(logits[trained].float(), torch.tensor(row.ids[1:])[trained])
        parts = dict(zip(moving, torch.autograd.grad(loss, [*moving.values()]), strict=True))
        if moments:
            parts = {name: moments.direction(name, part) for name, part in parts.items()}
        found.append(torch.cat([part.reshape(-1) for part in parts.values()]))
    return Gradients(np.array([float(one.norm()) for one in found]), torch.stack(found).numpy())


@pytest.mark.parametrize("direction", ["adam", "sgd"])
def test_less_is_the_formula(signals, direction, monkeypatch):
    method = GradientSimilarity(direction=direction, width=2048, **OPTIONS)
    chance = method.select(POOL, 3, signals=signals, target=TARGET, seed=1)
    monkeypatch.setattr(signals, "gradients", unprojected)
    found = method.select(POOL, 3, signals=signals, target=TARGET, seed=1)
    rows, aims, total, rates = signals.encoded(POOL), signals.encoded(TARGET), 0.0, 0.0
    with method.stages(signals.language(), rows, Meter(), 1) as (model, stages):
        for stage in stages:
            stage.enter(model)
            goals = [flat(gradient(model, row)) for row in aims]
            goals = [(goals[0] + goals[2]) / 2, goals[1]]  # the rows of label x, and that of y
            moves = [flat(adam_move(model, stage, row, 1e-3) if direction == "adam" else gradient(model, row))
                     for row in rows]
            total += stage.rate * np.array([[float(F.cosine_similarity(m, g, dim=0)) for g in goals] for m in moves])
            rates += stage.rate
    expected = total.max(axis=1) / rates
    np.testing.assert_allclose(found.scores / rates, expected, atol=2e-3)
    assert found.indices.tolist() == np.argsort(-found.scores, kind="stable")[:3].tolist()
    np.testing.assert_allclose(chance.scores / rates, expected, atol=5 / 2048**0.5)  # five deviations of a cosine


def test_the_model_is_left_as_it_was_even_after_an_error(signals):
    model = signals.language().model
    before, state = digest(model), torch.get_rng_state()
    for name in ("less", "lim"):
        build("selection", name, OPTIONS).select(POOL, 2, signals=signals, target=TARGET)
        assert digest(model) == before
    with (pytest.raises(RuntimeError, match="planted"),
          GradientSimilarity(**OPTIONS).stages(signals.language(), signals.encoded(POOL), Meter(), 0)):
        raise RuntimeError("planted")
    assert digest(model) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_stages_are_those_of_the_plain_training(signals, tmp_path):
    loaded, rows = signals.language(), signals.encoded(POOL)
    method = GradientSimilarity(**{**OPTIONS, "share": 1.0, "epochs": 3})
    with method.stages(loaded, rows, Meter(), 5) as (_, stages):
        pass
    assert [stage.adam.step for stage in stages] == [5, 10, 15]
    assert [stage.rate for stage in stages] == sorted((stage.rate for stage in stages), reverse=True)
    plan = TunePlan.parse({"rank": 2, "learning_rate": 5e-3, "schedule": "linear", "epochs": 3, "batch_size": 2,
                           "seed": 5})
    factors = [plan.schedule.factor(step, 15) for step in range(15)]
    assert [stage.rate for stage in stages] == pytest.approx([5e-3 * np.mean(factors[at:at + 5]) for at in (0, 5, 10)])
    model = plan.attach(copy.deepcopy(loaded.model))
    plan.train(model, rows, pad_id=loaded.pad_id, folder=tmp_path, meter=Meter())
    for name, value in trainable(model).items():
        assert torch.equal(stages[-1].weights[name], value), name
        assert not torch.equal(stages[0].weights[name], value), name


def test_training_is_on_the_bill(signals):
    build("selection", "lim", {**OPTIONS, "share": 1.0}).select(POOL, 2, signals=signals)
    tokens = sum(len(row.ids) for row in signals.encoded(POOL))
    assert signals.meter.bill().tokens_backward == pytest.approx(2 * tokens, rel=0.05)
    assert 4 * tokens <= signals.meter.bill().tokens_forward <= 5 * tokens  # the fast path compares a few rows first


@pytest.mark.parametrize(("subtasks", "members"), [
    ("label", [[0, 2], [1]]), ("row", [[0], [1], [2]]), ("all", [[0, 1, 2]]), ("source", [[0, 1, 2]])])
def test_sub_tasks(subtasks, members):
    assert GradientSimilarity(subtasks=subtasks)._members(TARGET) == members


def test_a_row_counts_by_the_sub_task_it_serves_best():
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    rows, goals = np.array([5 * east, 0.1 * north, -east]), np.array([2 * east, east + north])
    found = influence([(0.5, rows, goals), (0.25, rows[:, ::-1], goals)])
    half = 0.5**0.5
    np.testing.assert_allclose(found, [0.75 * half, 0.75 * half, max(-0.5, -0.75 * half)], atol=1e-12)


def test_the_first_step_of_adam_is_the_sign():
    zero = {"w": torch.zeros(3)}
    found = Moments(zero, zero, 0, (0.9, 0.999), 1e-8).direction("w", torch.tensor([3.0, -0.2, 1e-3]))
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0, 1.0]), atol=1e-4, rtol=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 5))
def test_alignment_is_one_for_the_mean_and_falls_with_the_distance_from_it(seed, rows, epochs):
    rewards = np.random.default_rng(seed).uniform(0, 0.9, (rows, epochs))
    scores, mean = alignment(rewards), rewards.mean(axis=0)
    assert scores.shape == (rows,)
    for i in range(rows):
        apart, room = sum((rewards[i] - mean) ** 2), sum((1 - mean) ** 2)
        assert scores[i] == pytest.approx(1 - apart / room)
    doubled = np.concatenate([rewards, 2 * mean - rewards, mean[None]])  # the mean stays as it was
    assert alignment(doubled)[-1] == pytest.approx(1.0)
    assert alignment(doubled).argmax() == 2 * rows or alignment(doubled).max() == pytest.approx(1.0)


def test_what_is_known_at_once_or_never_learned_is_not_aligned():
    rewards = [[1, 1, 1, 1], [0, 0, 0, 0], [0.1, 0.3, 0.6, 0.9], [0.2, 0.4, 0.5, 0.8]]
    assert sorted(alignment(np.array(rewards)).argsort()[-2:].tolist()) == [2, 3]
    assert alignment(np.ones((3, 2))).tolist() == [1, 1, 1]
