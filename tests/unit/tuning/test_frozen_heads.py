"""The heads' own mathematics, against scikit-learn and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from scrimp.core.errors import DataError
from scrimp.core.registry import build


def rows(count=60, classes=3, width=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    features = rng.normal(size=(classes, width))[labels] + rng.normal(size=(count, width)) * rng.uniform(.5, 2, width)
    return features.astype(np.float32), labels


def test_naive_bayes_is_that_of_scikit_learn_where_nothing_is_shrunk():
    from sklearn.naive_bayes import GaussianNB

    features, labels = rows(3000)
    fitted = build("head", "naive-bayes", {"prior": 1e-6}).fit(features, labels, classes=3)
    wanted = GaussianNB(var_smoothing=0).fit(features.astype(np.float64), labels).predict_log_proba(features)
    # scikit-learn divides a variance by n, we by n - 1
    np.testing.assert_allclose(fitted.log_probabilities(features), wanted, rtol=3e-3, atol=0.01)


@pytest.mark.parametrize(("name", "shared"), [("diagonal-lda", True), ("naive-bayes", False)])
def test_gaussian_heads_follow_their_formula(name, shared):
    x, y = rows(20)
    x = x.astype(np.float64)
    means = np.stack([x[y == c].mean(0) for c in range(3)])
    counts = np.bincount(y)
    pooled = (sum(((x[y == c] - means[c]) ** 2).sum(0) for c in range(3)) + 2.0 * x.var(0)) / (20 - 3 + 2.0)
    each = [pooled if shared else (((x[y == c] - means[c]) ** 2).sum(0) + 2.0 * pooled) / (counts[c] - 1 + 2.0)
            for c in range(3)]
    joint = np.stack([norm(means[c], np.sqrt(each[c])).logpdf(x).sum(1) + np.log(counts[c] / 20) for c in range(3)], 1)
    wanted = joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
    found = build("head", name, {"prior": 2.0}).fit(x, y, classes=3).log_probabilities(x)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_constant_feature_says_nothing():
    x, y = rows()
    with_constant = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
    for name in ("diagonal-lda", "naive-bayes"):
        plain, more = (build("head", name).fit(f, y, classes=3).log_probabilities(f) for f in (x, with_constant))
        np.testing.assert_allclose(more, plain, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(list(range(24))), cuts=st.lists(st.integers(1, 23), max_size=4),
       scale=st.floats(1e-6, 1e4), normalise=st.booleans())
def test_a_stream_in_any_order_and_portions_gives_the_means_of_all_rows_to_the_bit(order, cuts, scale, normalise):
    x, y = rows(24, classes=4)
    x = x * np.float32(scale)
    whole = build("head", "nearest-mean", {"normalise": normalise}).fit(x, y, classes=4)
    first, *portions = np.split(np.array(order), sorted(set(cuts)))
    stream = build("head", "nearest-mean", {"normalise": normalise}).fit(x[first], y[first], classes=y[first].max() + 1)
    for part in portions:
        stream = stream.partial_fit(x[part], y[part])
    for name, array in whole.arrays().items():
        assert np.array_equal(stream.arrays()[name], array)
    if not normalise:
        means = np.stack([x[y == c].astype(np.float64).mean(0) for c in range(4)])
        np.testing.assert_allclose(whole.means, means, atol=2.0**-32)


def test_the_nearest_mean_is_that_of_scikit_learn():
    from sklearn.neighbors import NearestCentroid

    x, y = rows()
    fitted = build("head", "nearest-mean").fit(x, y, classes=3)
    assert (fitted.predict(x) == NearestCentroid().fit(x, y).predict(x)).all()


def test_features_that_no_exact_sum_holds_are_refused():
    x, y = rows()
    head = build("head", "nearest-mean")
    with pytest.raises(DataError, match="too large"):
        head.fit(x * 1e9, y, classes=3)
    stream = head.fit(np.full((1, 2), 9e8), np.array([0]), classes=1)
    with pytest.raises(DataError, match="too large"):
        stream.partial_fit(np.full((1, 2), 9e8), np.array([0]))
    with pytest.raises(DataError, match="3 columns, and had 2"):
        stream.partial_fit(np.zeros((1, 3)), np.array([0]))


@pytest.mark.parametrize("count", [4, 60])
def test_ridge_is_that_of_scikit_learn(count):
    from sklearn.linear_model import Ridge

    x, y = rows(count, width=9)
    fitted = build("head", "ridge", {"scale": 1.0, "penalty": 0.7}).fit(x, y, classes=3)
    wanted = Ridge(alpha=0.7).fit(x.astype(np.float64), 2 * np.eye(3)[y] - 1).predict(x.astype(np.float64))
    np.testing.assert_allclose(fitted.scores(x.astype(np.float64)), wanted, atol=1e-6)


def test_logistic_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    x, y = rows()
    fitted = build("head", "logistic", {"strength": 2.0, "normalise": True}).fit(x, y, classes=3)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    wanted = LogisticRegression(C=2.0, max_iter=2000).fit(unit, y).predict_log_proba(unit)
    np.testing.assert_allclose(fitted.log_probabilities(x), wanted, atol=1e-4)
