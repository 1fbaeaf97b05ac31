"""Intervals cover what they say they cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scrimp.core.errors import DataError
from scrimp.evaluation.statistics import bootstrap, paired_bootstrap, t_interval, wilson


def ones(values):
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(pair):
    expected = stats.binomtest(*pair).proportion_ci(method="wilson")
    assert wilson(*pair) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_covers_small_samples():
    rng, share, n = np.random.default_rng(0), 0.9, 25
    hit = [low <= share <= high for low, high in (wilson(k, n) for k in rng.binomial(n, share, size=2000))]
    assert 0.92 < np.mean(hit) < 0.985


def test_the_bootstrap_covers_a_skewed_mean():
    rng = np.random.default_rng(1)
    hit = [low <= 1 <= high for low, high in
           (bootstrap(ones(rng.exponential(size=60)), seed=i, draws=500) for i in range(300))]
    assert 0.89 < np.mean(hit) < 0.98


def test_the_bootstrap_is_near_scipys():
    values = np.random.default_rng(2).exponential(size=80)
    expected = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=4000, rng=0).confidence_interval
    assert bootstrap(ones(values), draws=4000) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_the_paired_bootstrap_covers_and_is_narrower_than_an_unpaired_one():
    rng, hits = np.random.default_rng(3), []
    for seed in range(200):
        base = rng.normal(size=60)
        before, after = ones(base), ones(base + 0.2 + rng.normal(scale=0.3, size=60))
        value, low, high = paired_bootstrap(before, after, seed=seed, draws=400)
        assert low <= value <= high
        hits.append(low <= 0.2 <= high)
    assert 0.88 < np.mean(hits) < 0.985
    alone = bootstrap(after, draws=400)
    assert high - low < (alone[1] - alone[0]) / 2


def test_the_same_seed_gives_the_same_interval_and_alike_rows_give_a_point():
    values = ones(np.random.default_rng(4).normal(size=30))
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)
    assert bootstrap(ones([0.25] * 10)) == (0.25, 0.25)


def test_the_t_interval_is_scipys():
    values = [0.7, 0.72, 0.69, 0.75, 0.71]
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)


@pytest.mark.parametrize("call", [lambda: wilson(0, 0), lambda: bootstrap(ones([1.0])), lambda: t_interval([1.0]),
                                  lambda: paired_bootstrap(ones([1, 2]), ones([1, 2, 3]))])
def test_too_few_rows_are_refused(call):
    with pytest.raises(DataError):
        call()
