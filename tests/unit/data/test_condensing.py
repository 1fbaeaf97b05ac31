"""Trajectory matching: what is matched, from where, and that it goes down."""

import numpy as np
import pytest
import torch

from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.data.condensation import TrajectoryMatching
from scrimp.data.condensation.trajectories import _distance, _logits, _Made
from scrimp.domains.vision import digits


def method(**options):
    return TrajectoryMatching(**{"experts": 1, "epochs": 6, "iterations": 30, "student_steps": 3, **options})


def pieces(**options):
    x, y = digits()
    m, rng = method(**options), np.random.default_rng(0)
    flat = torch.from_numpy(x[:300].reshape(300, -1))
    path = m._expert(flat, torch.from_numpy(y[:300]), 10, rng)
    rows = [np.flatnonzero(y[:300] == c) for c in range(10)]
    return m, flat, y[:300], path, m._begun(flat, rows, 3, path[-1], rng)


def test_an_expert_gets_better_by_the_epoch():
    _, x, y, path, _ = pieces()
    right = [(_logits(weights, x).argmax(1).numpy() == y).mean() for weights in path]
    assert len(path) == 7
    assert right[0] < 0.3 < 0.8 < right[-1]


def test_the_mismatch_is_that_of_plain_gradient_descent():
    m, _, _, path, made = pieces()
    weights = [w.clone().requires_grad_() for w in path[1]]
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(_logits(weights, made.inputs), made.shares())
        gradients = torch.autograd.grad(loss, weights)
        weights = [(w - made.log_rate.exp() * g).detach().requires_grad_() for w, g in zip(weights, gradients,
                                                                                          strict=True)]
    expected = _distance(weights, path[3]) / _distance(path[1], path[3])
    torch.testing.assert_close(m._mismatch(made, path[1], path[3]), expected)
    gradients = torch.autograd.grad(m._mismatch(made, path[1], path[3]), [made.inputs, made.logits, made.log_rate])
    assert all(float(g.abs().sum()) > 0 for g in gradients)


def test_the_gradient_through_the_students_steps_is_that_of_small_changes():
    m, _, _, path, made = pieces()
    path = [tuple(w.double() for w in weights) for weights in path]
    x = made.inputs.detach().double().requires_grad_()
    other = _Made(x, made.logits.detach().double(), made.log_rate.detach().double())
    slope = torch.autograd.grad(m._mismatch(other, path[1], path[3]), x)[0]
    where = tuple(int(i) for i in np.unravel_index(int(slope.abs().argmax()), slope.shape))
    ends = []
    for change in (1e-5, -1e-5):
        moved = x.detach().clone()
        moved[where] += change
        ends.append(m._mismatch(_Made(moved, other.logits, other.log_rate), path[1], path[3]).item())
    assert float(slope[where]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3)


@pytest.mark.parametrize(("options", "per_class", "stage"), [
    ({"stage": "early"}, 50, (0, 4)), ({"stage": "late"}, 1, (9, 18)), ({"stage": "any"}, 1, (0, 18)),
    ({}, 1, (0, 4)), ({}, 8, (4, 14)), ({}, 64, (14, 18)), ({}, 500, (14, 18))])
def test_the_stage_lies_later_the_more_examples_there_are(options, per_class, stage):
    assert TrajectoryMatching(**options)._stage(per_class) == stage


def test_the_stage_widens_over_the_first_half():
    m = TrajectoryMatching(iterations=100)
    assert [m._latest(4, 14, i) for i in (0, 25, 50, 99)] == [4, 9, 14, 14]
    assert TrajectoryMatching(widen=False)._latest(4, 14, 0) == 14


def test_it_begins_with_real_rows_that_the_expert_gets_right_and_its_logits():
    _, x, y, path, made = pieces()
    real = {row.numpy().tobytes(): i for i, row in enumerate(x)}
    rows = [real[row.detach().numpy().tobytes()] for row in made.inputs]
    assert y[rows].tolist() == [c for c in range(10) for _ in range(3)]
    torch.testing.assert_close(made.logits, _logits(path[-1], x[rows]))
    assert made.logits.argmax(1).tolist() == y[rows].tolist()


def test_hard_labels_stay_and_soft_ones_move():
    x, y = digits()
    hard, soft = (method(soft=soft).condense(x[:300], y[:300], 1) for soft in (False, True))
    np.testing.assert_array_equal(hard.targets, np.eye(10))
    assert 0 < soft.targets.max(1).min() < 1


def test_a_span_beyond_the_epochs_is_refused():
    with pytest.raises(OptionError, match="not within 2"):
        build("condensation", "datm", {"epochs": 2})
