"""The linear head on frozen features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from scrimp.serving.heads import LabelHead
from scrimp.tuning.heads import logistic


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
    head = LabelHead.fit(features, labels, seed=seed)
    assert head.weight.shape == (len(counts), 8)
    assert set(head.labels) == set(labels)
    assert np.isfinite(head.values(features)).all()


def test_two_labels_give_the_probabilities_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs({"a": 20, "b": 30})
    head = LabelHead.fit(features, labels, seed=0)
    odds = head.values(features)
    shares = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    expected = LogisticRegression(C=head.strength, max_iter=2000).fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(shares, expected, atol=1e-4)


def test_noise_is_punished_and_signal_is_not():
    features, labels = blobs({"a": 30, "b": 30, "c": 30})
    clear = LabelHead.fit(features / 10, labels, seed=0)
    noise = LabelHead.fit(np.random.default_rng(0).normal(size=(90, 8)), labels, seed=0)
    assert noise.strength < clear.strength


def wide(rows, columns, *, rank=None, seed=0):
    """Rows about one long in far more dimensions, and their labels; those of a ``rank`` repeat each other."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rank or rows, columns)) * (rng.random((rank or rows, columns)) < 0.1)
    features = np.concatenate([features] * (rows // (rank or rows)))
    labels = [f"l{int(value)}" for value in 1.2 * (features[:, :5].sum(axis=1) > 0) + (features[:, 5] > 1)]
    return features / np.linalg.norm(features, axis=1, keepdims=True), labels


@pytest.mark.parametrize("form", [lambda rows: rows, csr_matrix, lambda rows: rows.astype(np.float32)])
@pytest.mark.parametrize("rank", [None, 30])
def test_few_rows_in_many_dimensions_give_the_same_head(form, rank, monkeypatch):
    features, labels = wide(60, 2000, rank=rank)
    seen, true = [], logistic._regression

    def regression(strength):
        made = true(strength).set_params(tol=1e-8)
        monkeypatch.setattr(made, "fit", lambda x, y: seen.append(x.shape[1]) or type(made).fit(made, x, y))
        return made

    monkeypatch.setattr(logistic, "_regression", regression)
    compact = LabelHead.fit(form(features), labels, seed=0)
    assert max(seen) <= (rank or 60)
    monkeypatch.setattr(logistic, "_MOST_COMPACTED", 0)
    direct = LabelHead.fit(features, labels, seed=0)
    assert max(seen) == 2000
    assert compact.strength == direct.strength
    np.testing.assert_allclose(compact.weight, direct.weight, atol=1e-3 * np.abs(direct.weight).max())
    np.testing.assert_allclose(compact.bias, direct.bias, atol=1e-3)


def test_rows_of_nothing_can_be_fitted():
    head = LabelHead.fit(np.zeros((6, 20)), ["a", "b", "b"] * 2, seed=0)
    assert head.values(np.zeros((1, 20))).argmax() == 1
