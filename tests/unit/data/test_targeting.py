"""Selection toward a target by similarity and by transport, against formulas and brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build
from scrimp.data.selection.target import dealt
from scrimp.data.selection.transport import calibrated, transport
from scrimp.examples.formats import read
from scrimp.signals import Signals
from scrimp.signals.embeddings import StatePass
from scrimp.signals.passes import run

POOL, TARGET = (read([{"text": f"{name} {i}"} for i in range(count)]) for name, count in (("row", 6), ("aim", 2)))


class Known:
    """Signals that are given for the pool and the target."""

    def __init__(self, pool, target):
        self._pool, self._target = (np.asarray(part, dtype=np.float32) for part in (pool, target))

    def embeddings(self, rows):
        return self._pool if len(rows) == len(self._pool) else self._target

    def states(self, rows, *, pooling):
        return self.embeddings(rows)


@pytest.mark.parametrize("pooling", ["mean", "position", "last"])
def test_states_are_pooled_as_those_of_each_row_alone(causal_folder, pooling):
    loaded = load(resolve(causal_folder), dtype="float32")
    rows = [[5, 6, 7, 8], [9, 4], [3], [11, 12, 13, 3, 8, 20, 4]]
    for row, found in zip(rows, run(StatePass(loaded, pooling), rows).values, strict=True):
        with torch.inference_mode():
            states = loaded.model.model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy()
        count = np.arange(1, len(row) + 1)
        weights = {"mean": np.ones(len(row)), "position": count, "last": count == len(row)}[pooling]
        np.testing.assert_allclose(found, np.average(states, axis=0, weights=weights), atol=1e-5)


def test_states_are_of_the_whole_row_and_computed_once(encoder_folder, causal_folder):
    signals = Signals(resolve(encoder_folder), model=resolve(causal_folder))
    asked, answered = ({"prompt": "what a film", "completion": end} for end in ("good", "bad"))
    found = signals.states(read([asked, answered]))
    assert not np.allclose(found[0], found[1])
    assert found.tobytes() == signals.states(read([asked, answered])).tobytes()
    assert not np.allclose(found, signals.states(read([asked, answered]), pooling="last"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.data())
def test_each_target_row_takes_the_nearest_that_is_left_in_turn(seed, count, takers, data):
    similar = np.random.default_rng(seed).integers(0, 4, (count, takers)).astype(float)
    keep = data.draw(st.integers(0, count))
    left, expected = list(range(count)), []
    for taker in itertools.islice(itertools.cycle(range(takers)), keep):
        best = max(left, key=lambda i: similar[i, taker])
        left.remove(best)
        expected.append(best)
    assert dealt(similar, keep).tolist() == expected


def test_turns_serve_every_target_row_where_the_mean_serves_the_crowd():
    crowd, lonely = [[1, 0]] * 5, [[0, 1]]
    signals = Known([*crowd, *lonely], [[1, 0.1], [0, 1]])
    assert build("selection", "rds").select(POOL, 2, signals=signals, target=TARGET).indices.tolist() == [0, 5]
    nearest = build("selection", "rds", {"order": "mean"}).select(POOL, 2, signals=signals, target=TARGET)
    assert nearest.scores.tolist() == pytest.approx([0.4975] * 5 + [(0.1 / 1.01**0.5 + 1) / 2], abs=1e-3)
    assert nearest.indices.tolist()[0] == 5


@pytest.mark.parametrize("name", ["rds", "nearest", "got-d", "less", "acquire-margin", "tailor"])
def test_without_a_target_it_is_said(name):
    for target in (None, TARGET.subset([])):
        with pytest.raises(OptionError, match="target"):
            build("selection", name).select(POOL, 2, signals=Known([], []), target=target)


def costs(x, y):
    return np.square(x[:, None] - y[None]).sum(axis=2)


def test_with_little_entropy_it_is_the_linear_programme():
    rng = np.random.default_rng(0)
    x, y, a = rng.normal(size=(6, 2)), rng.normal(size=(4, 2)) + 1, rng.dirichlet(np.ones(6))
    moved = np.concatenate([np.kron(np.eye(6), np.ones(4)), np.kron(np.ones(6), np.eye(4))])
    best = linprog(costs(x, y).ravel(), A_eq=moved, b_eq=np.concatenate([a, np.full(4, 0.25)]))
    found = transport(x, y, a, epsilon=0.002, tolerance=1e-6, iterations=20_000)
    assert found.value == pytest.approx(best.fun, rel=0.02)
    assert found.wrong <= 1e-6


def test_potentials_are_the_derivative_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    x, y, a = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 0.5, np.full(7, 1 / 7)
    settings = {"tolerance": 1e-10, "iterations": 5000}
    e = 0.1 * float((a[:, None] * costs(x, y)).sum() / 5)
    found, step = transport(x, y, epsilon=0.1, **settings), 1e-4
    monkeypatch.setattr("scrimp.data.selection.transport._mean_cost", lambda *_: e / 0.1)  # the entropy's share stays
    for i in range(7):
        way = np.where(np.arange(7) == i, 1.0, -1 / 6)
        ends = [transport(x, y, a + sign * step * way, epsilon=0.1, **settings).value for sign in (1, -1)]
        assert calibrated(found.rows)[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-4)
    monkeypatch.setattr("scrimp.data.selection.transport._BLOCK", 10)  # two rows at a time
    np.testing.assert_allclose(transport(x, y, epsilon=0.1, **settings).rows, found.rows, atol=1e-9)


def test_marginals_of_the_plan_are_the_weights():
    rng = np.random.default_rng(2)
    x, y, a = rng.normal(size=(9, 2)), rng.normal(size=(6, 2)), rng.dirichlet(np.ones(9))
    found = transport(x, y, a, epsilon=0.2, tolerance=1e-9, iterations=5000)
    e = 0.2 * float((a[:, None] * costs(x, y)).sum() / 6)
    plan = a[:, None] / 6 * np.exp((found.rows[:, None] + found.columns - costs(x, y)) / e)
    np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 6, atol=1e-8)


def test_points_far_apart_neither_overflow_nor_vanish():
    found = transport(np.array([[0.0], [1e4]]), np.array([[1e4], [0.0]]), epsilon=1e-4)
    assert np.isfinite(found.rows).all()
    assert found.value == pytest.approx(0, abs=1e5)
    with pytest.raises(ModelError, match="not finite"):
        transport(np.array([[np.nan]]), np.ones((1, 1)))


def test_transport_keeps_what_the_pool_lacks_and_not_what_it_has():
    angles = np.deg2rad([0, 0, 0, 0, 60, 180])  # the target lies at 0 and at 90 degrees
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = build("selection", "got-d").select(POOL, 1, signals=Known(ring, [[1, 0], [0, 1]]), target=TARGET)
    assert found.indices.tolist() == [4]
    assert found.scores.argmin() == 5
