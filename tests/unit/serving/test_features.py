"""Frozen features and the linear head on them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.serving.features import embed_texts
from scrimp.serving.logistic import fit_linear_head

TEXTS = ["what a good film", "", "one two three " * 40, "😀", "what a good film"]


@pytest.fixture(scope="module")
def encoder(encoder_folder):
    return load(resolve(encoder_folder), dtype="float32")


def test_a_text_is_the_mean_of_its_states_whatever_it_is_embedded_with(encoder):
    found = embed_texts(encoder, TEXTS, max_tokens=20)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = encoder.tokenizer(text, truncation=True, max_length=20)["input_ids"] or [encoder.pad_id]
        with torch.inference_mode():
            expected = encoder.model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)


def test_a_head_or_an_adapter_is_looked_through(encoder, encoder_folder):
    from scrimp.tuning.adapters import LoRA

    expected = embed_texts(encoder, TEXTS)
    fresh = load(resolve(encoder_folder), dtype="float32")
    adapted = LoRA().attach(PooledClassifier(fresh.model, ("a", "b")))
    np.testing.assert_allclose(embed_texts(fresh.with_model(adapted), TEXTS), expected, atol=1e-5)


def test_causal_models_embed_too(causal_folder):
    found = embed_texts(load(resolve(causal_folder), dtype="float32"), TEXTS)
    assert found.shape == (5, 64)
    assert found.dtype == np.float32


def test_the_cache_spares_the_pass_and_a_damaged_one_is_made_anew(encoder, tmp_path):
    first, second, third = Meter(), Meter(), Meter()
    found = embed_texts(encoder, TEXTS[:3], cache=tmp_path, meter=first)
    again = embed_texts(encoder, TEXTS, cache=tmp_path, meter=second)
    np.testing.assert_array_equal(found, again[:3])
    assert first.bill().tokens_forward > 100 > second.bill().tokens_forward > 0
    file, = tmp_path.glob("embeddings-*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_allclose(embed_texts(encoder, TEXTS, cache=tmp_path, meter=third), again, atol=1e-6)
    assert third.bill().tokens_forward > 100
    assert not np.array_equal(embed_texts(encoder, TEXTS, cache=tmp_path, max_tokens=8)[2], found[2])


def test_states_that_are_no_numbers_are_found(encoder_folder):
    broken = load(resolve(encoder_folder), dtype="float32")
    with torch.no_grad():
        broken.model.embeddings.LayerNorm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        embed_texts(broken, ["a"])


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
