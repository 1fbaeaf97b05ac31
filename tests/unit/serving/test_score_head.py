"""Ridge regression of scores: the penalty, what is left out, and the interval."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from scrimp.serving.heads import ScoreHead
from scrimp.tuning.heads import numbers


def rows(count, wide=8, noise=0.3, seed=0):
    drawn = np.random.default_rng(seed)
    features = drawn.normal(size=(count, wide)) / np.sqrt(wide)
    return features, features @ np.arange(wide) + 5 + noise * drawn.normal(size=count)


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_it_is_the_ridge_regression_of_its_penalty(form):
    features, targets = rows(30)
    found = numbers.fitted(form(features), targets, seed=0)
    wanted = Ridge(alpha=found.penalty).fit(features, targets)
    assert found.weight == pytest.approx(wanted.coef_)
    assert found.bias == pytest.approx(wanted.intercept_)


def test_misses_are_those_of_rows_left_out_of_the_fit():
    features, targets = rows(12)
    found = numbers.fitted(features, targets, seed=0)
    order = np.random.default_rng(0).permutation(12)
    left_out = [targets[i] - Ridge(alpha=found.penalty).fit(np.delete(features, i, 0), np.delete(targets, i)).predict(
        features[[i]])[0] for i in order]
    assert found.misses == pytest.approx(np.array(left_out))


def test_the_penalty_is_the_best_one_and_large_where_there_is_nothing_to_learn():
    features, targets = rows(40)
    clear = numbers.fitted(features, targets, seed=0)
    noise = numbers.fitted(features, np.random.default_rng(5).normal(size=40), seed=0)
    assert clear.penalty < 1 < 100 < noise.penalty
    assert np.abs(noise.weight).max() < 0.05


def test_many_rows_are_fitted_whole_with_the_penalty_of_some(monkeypatch):
    monkeypatch.setattr(numbers, "_MOST_FOR_CHOICE", 20)
    features, targets = rows(200)
    for form in (np.asarray, csr_matrix):
        found = numbers.fitted(form(features), targets, seed=0)
        wanted = Ridge(alpha=found.penalty).fit(features, targets)
        assert found.weight == pytest.approx(wanted.coef_, abs=0.02)
        assert len(found.misses) == 20


def test_the_interval_holds_nine_tenths_of_other_rows():
    held = []
    for seed in range(20):
        features, targets = rows(260, seed=seed)
        said = ScoreHead.fit(features[:60], targets[:60].tolist(), seed=0).predictions(features[60:])
        held += [one["low"] <= target <= one["high"] for one, target in zip(said, targets[60:], strict=True)]
    assert 0.87 < np.mean(held) < 0.93


def test_of_too_few_rows_no_interval_is_told():
    features, targets = rows(8)
    assert set(ScoreHead.fit(features, targets.tolist(), seed=0).predictions(features)[0]) == {"score"}
    features, targets = rows(9)
    assert set(ScoreHead.fit(features, targets.tolist(), seed=0).predictions(features)[0]) == {"score", "low", "high"}


@pytest.mark.parametrize(("unit", "offset"), [(1e-90, 0.0), (1e90, 0.0), (1.0, 1e9)])
def test_scores_of_any_size_are_learned(unit, offset):
    features, targets = rows(60)
    scores = (targets * unit + offset).tolist()
    said = ScoreHead.fit(features, scores, seed=0).predictions(features)
    misses = np.array([one["score"] for one in said]) - scores
    assert np.abs(misses).mean() < 0.5 * unit


def test_scores_that_are_all_the_same_are_said():
    assert ScoreHead.fit(np.eye(12), [7.0] * 12, seed=0).predictions(np.ones((1, 12)))[0]["score"] == 7.0
