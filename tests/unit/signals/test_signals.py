"""Losses, activations, gradients, and the store that computes each of them once."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError, WorkspaceError
from scrimp.core.workspace import Workspace
from scrimp.examples.formats import read
from scrimp.examples.templates import Encoded
from scrimp.signals import Signals
from scrimp.signals.activations import activations
from scrimp.signals.embeddings import embed_texts
from scrimp.signals.gradients import gradients
from scrimp.signals.losses import losses


@pytest.fixture
def model(causal_folder):
    return load(resolve(causal_folder), dtype="float32").model


def rows(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [Encoded(rng.integers(3, 300, n).tolist(), [*(rng.random(n) < 0.7).tolist()[:-1], True], row=i)
            for i, n in enumerate(lengths)]


def test_losses_are_those_of_a_row_alone_and_moments_those_of_its_distribution(model):
    encoded = rows(9, 30, 2, 17)
    for row, found in zip(encoded, losses(model, encoded), strict=True):
        with torch.inference_mode():
            scores = model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        at = [i for i in range(1, len(row.ids)) if row.trained[i]]
        np.testing.assert_allclose(found.log_probability, [float(scores[i - 1, row.ids[i]]) for i in at], atol=1e-4)
        draws = torch.distributions.Categorical(logits=scores[[i - 1 for i in at]])
        np.testing.assert_allclose(found.expected, -draws.entropy().numpy(), atol=1e-4)
        variance = (draws.probs * (draws.logits + draws.entropy()[:, None]) ** 2).sum(-1)
        np.testing.assert_allclose(found.spread, variance.sqrt().numpy(), atol=1e-4)


def test_a_row_without_trained_tokens_has_no_losses_and_nan_is_told(model):
    found = losses(model, [Encoded([5, 6, 7], [True, False, False])])
    assert found[0].log_probability.shape == (0,)
    assert not losses(model, [])
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        losses(model, rows(5))


def test_activations_are_sums_over_real_tokens(model):
    encoded, name = rows(9, 30, 2), "model.layers.1.mlp.down_proj"
    found = activations(model, encoded, [name], gram=True)[name]
    inputs, layer = [], model.get_submodule(name)
    handle = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0][0]))
    with torch.inference_mode():
        for row in encoded:
            model(input_ids=torch.tensor([row.ids]))
    handle.remove()
    seen = torch.cat(inputs).double()
    assert found.count == 41
    torch.testing.assert_close(found.mean, seen.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.variance, seen.var(0, unbiased=False), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.norm, seen.norm(dim=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.gram, seen.T @ seen, atol=1e-4, rtol=1e-3)


def test_all_linear_layers_are_seen_without_a_trace(model):
    found = activations(model, rows(4))
    assert set(found) == {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ModelError, match=r"did you mean 'model\.layers\.1"):
        activations(model, rows(4), ["model.layers.1.mlp.down_porj"])


def test_gradients_have_the_length_and_the_inner_products_of_autograd(model):
    encoded, pattern = rows(9, 12, 7), r".*layers\.1\.self_attn\..*"
    found = gradients(model, encoded, parameters=pattern, width=4096)
    chosen = [p for name, p in model.named_parameters() if "layers.1.self_attn" in name]
    flat = []
    for row in encoded:
        model.zero_grad()
        logits = model(input_ids=torch.tensor([row.ids])).logits[0]
        at = [i for i in range(1, len(row.ids)) if row.trained[i]]
        F.cross_entropy(logits[[i - 1 for i in at]], torch.tensor([row.ids[i] for i in at])).backward()
        flat.append(torch.cat([p.grad.reshape(-1) for p in chosen]).numpy())
    model.zero_grad()
    exact = np.stack(flat)
    np.testing.assert_allclose(found.norms, np.linalg.norm(exact, axis=1), rtol=1e-3)
    np.testing.assert_allclose(found.projected @ found.projected.T, exact @ exact.T, atol=0.1 * (exact**2).sum(1).max())


def test_gradients_leave_the_model_as_it_was_and_say_what_is_wrong(model):
    model.lm_head.weight.requires_grad_(False)
    gradients(model, rows(5), parameters=".*norm.*", width=8)
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(ModelError, match="no parameter's name"):
        gradients(model, rows(5), parameters="nothing")
    with pytest.raises(ModelError, match="no trained token"):
        gradients(model, [Encoded([1, 2], [True, False])])


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def flat(signals, model, encoded):
    """Every signal of ``encoded``, as a list of arrays."""
    return [*(array for row in signals.losses(model, encoded) for array in vars(row).values()),
            *(np.asarray(value) for one in signals.activations(model, encoded, gram=True).values()
              for value in vars(one).values()),
            *vars(signals.gradients(model, encoded, width=8)).values()]


def test_what_is_on_disk_is_not_computed_again_until_the_weights_change(model, tmp_path):
    encoded, first, second, third = rows(9, 5), Meter(), Meter(), Meter()
    made = flat(Signals(workspace=Workspace(tmp_path), meter=first), model, encoded)
    kept = flat(Signals(workspace=Workspace(tmp_path), meter=second), model, encoded)
    assert same(made, kept)
    assert first.bill().tokens_forward > second.bill().tokens_forward == 0
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    assert not same(flat(Signals(workspace=Workspace(tmp_path), meter=third), model, encoded), made)
    assert third.bill().tokens_forward == first.bill().tokens_forward


def test_embeddings_are_those_of_the_pass_and_kept_in_memory(encoder_folder):
    meter, pool = Meter(), [{"text": "a good film", "label": "x"}, {"prompt": "one two"}]
    signals = Signals(resolve(encoder_folder), meter=meter)
    found = signals.embeddings(pool)
    spent = meter.bill().tokens_forward
    expected = embed_texts(load(resolve(encoder_folder), dtype="float32"), ["a good film", "one two"])
    np.testing.assert_array_equal(found, expected)
    found[:] = 0
    np.testing.assert_array_equal(signals.embeddings(pool), expected)
    assert meter.bill().tokens_forward == spent > 0


def test_a_damaged_file_is_told(model, tmp_path):
    Signals(workspace=Workspace(tmp_path)).gradients(model, rows(5), width=8)
    Signals(workspace=Workspace(tmp_path)).activations(model, rows(5))
    for file in (*tmp_path.glob("gradients.*/values.npy"), *tmp_path.glob("activations-*/signal.safetensors")):
        file.write_bytes(b"nothing")
    with pytest.raises(WorkspaceError, match="damaged"):
        Signals(workspace=Workspace(tmp_path)).gradients(model, rows(5), width=8)
    with pytest.raises(WorkspaceError, match="damaged"):
        Signals(workspace=Workspace(tmp_path)).activations(model, rows(5))


def test_an_encoder_predicts_no_tokens(encoder_folder):
    with pytest.raises(ModelError, match="predicts no tokens"):
        losses(load(resolve(encoder_folder), dtype="float32").model, rows(5))


def test_rows_are_encoded_for_the_language_model_which_is_loaded_once(causal_folder):
    signals = Signals(model=str(causal_folder))
    encoded = signals.encoded(read([{"prompt": "one", "completion": "two"}, {"prompt": "a", "completion": "b"}]))
    assert [any(row.trained) and not row.trained[0] for row in encoded] == [True, True]
    assert signals.language() is signals.language(str(causal_folder))
    assert len(signals.losses(signals.language().model, encoded)) == 2
