"""The mean of a model's states for each text."""

import numpy as np
import pytest
import torch

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError, WorkspaceError
from scrimp.core.workspace import Workspace
from scrimp.signals import Signals
from scrimp.signals.embeddings import embed_texts

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


def test_the_cache_spares_the_pass_and_a_damaged_one_is_told(encoder, tmp_path):
    first, second, third = Meter(), Meter(), Meter()
    found = embed_texts(encoder, TEXTS[:3], cache=tmp_path, meter=first)
    again = embed_texts(encoder, TEXTS, cache=tmp_path, meter=second)
    np.testing.assert_array_equal(found, again[:3])
    assert first.bill().tokens_forward > 100 > second.bill().tokens_forward > 0
    np.testing.assert_array_equal(embed_texts(encoder, TEXTS[::-1], cache=tmp_path, meter=third), again[::-1])
    assert third.bill().tokens_forward == 0
    assert not np.array_equal(embed_texts(encoder, TEXTS, cache=tmp_path, max_tokens=8)[2], found[2])
    for file in tmp_path.glob("embeddings.*/values.npy"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WorkspaceError, match="damaged"):
        embed_texts(encoder, TEXTS, cache=tmp_path)


def test_what_was_embedded_for_features_is_known_to_signals(encoder, encoder_folder, tmp_path):
    meter, texts = Meter(), sorted(set(TEXTS))
    found = embed_texts(encoder, texts, cache=tmp_path)
    signals = Signals(resolve(encoder_folder), workspace=Workspace(tmp_path), meter=meter)
    np.testing.assert_array_equal(signals.embeddings([{"text": text} for text in texts]), found)
    assert meter.bill().tokens_forward == 0


def test_states_that_are_no_numbers_are_found(encoder_folder):
    broken = load(resolve(encoder_folder), dtype="float32")
    with torch.no_grad():
        broken.model.embeddings.LayerNorm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        embed_texts(broken, ["a"])
