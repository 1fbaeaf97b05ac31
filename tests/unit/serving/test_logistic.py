"""The linear head on frozen features."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.serving.logistic import fit_linear_head


def blobs(counts, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), 8)) * 3
    labels = [name for name, count in counts.items() for _ in range(count)]
    order = {name: i for i, name in enumerate(counts)}
    return np.stack([centres[order[name]] + rng.normal(size=8) for name in labels]), labels


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 5))
def test_it_fits_any_counts_of_labels_down_to_one(counts, seed):
    features, labels = blobs(counts, seed)
    head = fit_linear_head(features, labels, seed=seed)
    assert head.weight.shape == (len(counts), 8)
    assert set(head.labels) == set(labels)
    assert np.isfinite(head.log_odds(features)).all()


def test_two_labels_give_the_probabilities_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs({"a": 20, "b": 30})
    head = fit_linear_head(features, labels, seed=0)
    odds = head.log_odds(features)
    shares = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    expected = LogisticRegression(C=head.strength, max_iter=2000).fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(shares, expected, atol=1e-4)


def test_noise_is_punished_and_signal_is_not():
    features, labels = blobs({"a": 30, "b": 30, "c": 30})
    clear = fit_linear_head(features / 10, labels, seed=0)
    noise = fit_linear_head(np.random.default_rng(0).normal(size=(90, 8)), labels, seed=0)
    assert noise.strength < clear.strength
