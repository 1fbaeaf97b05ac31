"""Recomputation: less is kept, the same comes out, and the model is as it was."""

import pytest
import torch
from torch import nn

from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.core.registry import build
from scrimp.tuning import trainer
from scrimp.tuning.adapters import trainable_state
from scrimp.tuning.recompute import recomputed


def ends(causal_folder, data, fit, tmp_path, *, adapter, adapter_options, dtype=torch.float32, **options):
    """Of two runs, the second with recomputation: weights, flops, and calls of a part of the first layer."""
    from transformers import AutoModelForCausalLM

    for recompute in (False, True):
        base = AutoModelForCausalLM.from_pretrained(causal_folder, dtype=dtype)
        model, meter, calls = build("adapter", adapter, adapter_options).attach(base), Meter(), []
        base.get_decoder().layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        fit(model, data, folder=tmp_path / f"{recompute}", meter=meter, steps=3, recompute=recompute, **options)
        yield trainable_state(model), meter.bill().flops, len(calls)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("adapter", "adapter_options"), [
    ("lora", {}), ("lora", {"dropout": 0.2}), ("full", {}), ("bottleneck", {})])
def test_training_is_the_same_to_the_bit(causal_folder, data, fit, tmp_path, monkeypatch, adapter, adapter_options,
                                         fast):
    monkeypatch.setattr(trainer._Run, "check_losses", lambda self: None)  # of two rows, however few
    (one, flops, calls), (other, more_flops, more_calls) = ends(
        causal_folder, data, fit, tmp_path, adapter=adapter, adapter_options=adapter_options, fast=fast)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert more_calls == calls + 3  # three steps of one part
    assert 1.2 * flops < more_flops < 2 * flops


def test_bfloat16_is_the_same_to_the_bit_too(causal_folder, data, fit, tmp_path):
    (one, _, _), (other, _, _) = ends(causal_folder, data, fit, tmp_path, adapter="full", adapter_options={},
                                      dtype=torch.bfloat16)
    assert all(torch.equal(one[name], other[name]) for name in one)


def kept(model: nn.Module) -> int:
    """Bytes that the backward pass is given."""
    found: dict[int, int] = {}

    def pack(tensor):
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        states = model.get_decoder()(input_ids=torch.arange(64)[None]).last_hidden_state
        states.sum()
    return sum(size for place, size in found.items() if place not in own)


def test_less_is_kept_and_the_model_is_as_it_was(causal):
    model = build("adapter", "full").attach(causal).train()
    layer = causal.get_decoder().layers[0]
    before, usual = dict(vars(layer)), kept(model)
    with recomputed(model):
        assert kept(model) < usual / 4
    assert vars(layer) == before
    assert kept(model) == usual


def test_it_is_switched_off_when_training_fails(causal, data, fit):
    model = build("adapter", "lora").attach(causal)
    with pytest.raises(RuntimeError, match="broken"):
        fit(model, data, recompute=True, validate=lambda: (_ for _ in ()).throw(RuntimeError("broken")))
    assert all("forward" not in vars(layer) for layer in causal.get_decoder().layers)


def test_a_classifier_s_encoder_is_recomputed(pooled, data, fit):
    result = fit(build("adapter", "full").attach(pooled), data, recompute=True, objective="classify", steps=2)
    assert result.steps == 2


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match="recomputed"), recomputed(nn.Linear(2, 2)):
        pass
    with recomputed(nn.Linear(2, 2), wanted=False):
        pass
