"""Linear layers in four bits: what they hold, what they compute, and what leaves them."""

from __future__ import annotations

import copy
import json
import sys

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from scrimp.checkpoints.exporting import check_export, load_export, logits_of, merge, save_adapter, save_merged
from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.quantized import NF4Linear, bits_of, quantize, weight_dtype, weights_in
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build

PROBES = [[5, 6, 7, 8, 9], [10, 11, 12], [40, 41, 42, 43, 44, 45, 46]]


def linear(inputs: int = 64, outputs: int = 96, *, dtype: torch.dtype = torch.float32, bias: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias, dtype=dtype).requires_grad_(False)


def learned(model: nn.Module) -> nn.Module:
    """A LoRA over the model's linear layers in four bits, that has learned something."""
    adapted = build("adapter", "lora", {"rank": 4, "base_bits": 4}).attach(model)
    torch.manual_seed(7)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.05)
    return adapted.eval()


def without_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)


# one layer --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 96), (128, 32), (100, 7), (64, 1)])
def test_a_layer_computes_with_its_unpacked_weight(shape: tuple[int, int], dtype: torch.dtype) -> None:
    layer = linear(*shape, dtype=dtype, bias=True)
    packed, x = NF4Linear(layer), torch.randn(5, shape[0], dtype=dtype)
    assert packed.weight.dtype == weight_dtype(packed) == dtype and packed.weight.shape == layer.weight.shape
    assert torch.equal(packed(x), nn.functional.linear(x, packed.weight, packed.bias))
    apart = (packed.weight - layer.weight).float().norm() / layer.weight.float().norm()
    assert 0 < apart < 0.12


def test_the_table_is_that_of_the_paper() -> None:
    """Of a block whose largest weight is one, each weight comes back as the nearest of the 16 levels."""
    levels = torch.tensor([-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0,
                           0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0])
    layer = linear(64, 2)
    layer.weight.data = torch.cat([torch.linspace(-1, 1, 64)] * 2).view(2, 64)
    nearest = levels[(layer.weight[..., None] - levels).abs().argmin(-1)]
    torch.testing.assert_close(NF4Linear(layer).weight, nearest, atol=1e-6, rtol=0)


def test_it_is_the_same_each_time_and_after_it_was_evaluated() -> None:
    one, other, x = NF4Linear(linear()), NF4Linear(linear()), torch.randn(3, 64)
    before = one.train()(x)
    with torch.inference_mode():
        one.eval()(x)
    assert torch.equal(one.packed, other.packed) and torch.equal(one.train()(x), before)
    assert torch.equal(copy.deepcopy(one)(x), before)


def test_gradients_pass_it_in_both_modes() -> None:
    layer, x = NF4Linear(linear()), torch.randn(3, 64)
    for mode in (layer.train(), layer.eval(), layer.train()):
        moved = x.clone().requires_grad_()
        mode(moved).square().sum().backward()
        wanted = 2 * (x @ layer.weight.t()) @ layer.weight
        torch.testing.assert_close(moved.grad, wanted, atol=1e-5, rtol=1e-5)


def test_it_computes_in_the_precision_of_its_input_or_of_autocast() -> None:
    layer, x = NF4Linear(linear(dtype=torch.bfloat16, bias=True)), torch.randn(3, 64)
    assert layer(x).dtype == torch.float32 and layer(x.bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.float()  # what is packed is no number to convert
    assert layer.packed.dtype == torch.uint8


# a whole model ----------------------------------------------------------------------------------------------------

def test_all_layers_but_the_output_layer_are_put_into_a_quarter(causal_folder) -> None:
    model = AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.bfloat16)
    numbers = weights_in(model.parameters())
    linears = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear and name != "lm_head"}
    whole = sum(layer.weight.nbytes for layer in linears.values())
    quantize(model)
    packed = [layer for layer in model.modules() if isinstance(layer, NF4Linear)]
    held = sum(p.packed.nbytes + p.state.absmax.nbytes + p.state.state2.absmax.nbytes for p in packed)
    assert len(packed) == len(linears) == 14 and bits_of(model) == 4
    assert 0.25 < held / whole < 0.27
    assert weights_in(model.parameters()) == numbers
    assert type(model.lm_head) is nn.Linear and model.lm_head.weight is model.model.embed_tokens.weight
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16


def test_an_encoder_too_and_a_layer_of_odd_width_stays() -> None:
    body = BertModel(BertConfig(vocab_size=50, hidden_size=64, intermediate_size=65, num_hidden_layers=1,
                                num_attention_heads=4), add_pooling_layer=False)
    before = copy.deepcopy(body)
    quantize(body)
    assert type(body.encoder.layer[0].output.dense) is nn.Linear
    assert type(body.encoder.layer[0].attention.self.query) is NF4Linear
    ours, theirs = (logits_of(model, PROBES[:2]) for model in (body, before))
    assert 0 < float((ours - theirs).norm() / theirs.norm()) < 0.2


@pytest.mark.parametrize("twice", ["weight", "layer"])
def test_a_shared_weight_is_refused_and_nothing_is_changed(causal_folder, twice: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(causal_folder)
    first, second = model.model.layers
    if twice == "weight":
        second.mlp.up_proj.weight = first.mlp.up_proj.weight
    else:
        second.mlp.up_proj = first.mlp.up_proj
    with pytest.raises(ModelError, match="share a weight") as refused:
        build("adapter", "lora", {"base_bits": 4}).attach(model)
    assert "layers.0.mlp.up_proj" in refused.value.where and "layers.1.mlp.up_proj" in refused.value.where
    assert bits_of(model) == 16


def test_a_model_without_linear_layers_is_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2, n_positions=32))
    with pytest.raises(ModelError, match="has no linear layer"):
        build("adapter", "lora", {"base_bits": 4}).attach(model)


def test_targets_that_are_not_there_leave_the_model_as_it_was(causal_folder) -> None:
    model = AutoModelForCausalLM.from_pretrained(causal_folder)
    with pytest.raises(ModelError, match="finds nothing to adapt"):
        build("adapter", "lora", {"base_bits": 4, "targets": ("query",)}).attach(model)
    assert bits_of(model) == 16


def test_without_the_library_it_says_what_to_install(causal_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(causal_folder)
    without_bitsandbytes(monkeypatch)
    with pytest.raises(OptionError, match="needs bitsandbytes") as refused:
        build("adapter", "lora", {"base_bits": 4}).attach(model)
    assert "scrimp[quantized]" in refused.value.fix
    assert bits_of(model) == 16 and not any("lora" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize(("adapter", "options", "said"), [
    ("lora", {"base_bits": 8}, "base_bits"), ("lora", {"base_bits": "4 bits"}, "base_bits"),
    ("full", {"base_bits": 4}, "belongs to adapter"), ("smt", {"base_bits": 4}, "belongs to adapter")])
def test_what_cannot_be_is_refused_when_it_is_asked_for(adapter: str, options: dict, said: str) -> None:
    from scrimp.tuning.plan import TunePlan

    with pytest.raises(OptionError, match=said):
        TunePlan.parse({"adapter": adapter, **options})


# what leaves ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("decomposed", [False, True])
def test_the_adapter_opens_in_plain_peft_over_the_whole_base(louder, louder_folder, tmp_path, decomposed: bool) -> None:
    options = {"rank": 4, "base_bits": 4, "decomposed": decomposed}
    tuned = louder.with_model(build("adapter", "lora", options).attach(louder.model).eval())
    with torch.no_grad():
        for name, value in tuned.model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.05)
    save_adapter(tuned, tmp_path)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(louder_folder), str(tmp_path))
    assert not any(isinstance(module, NF4Linear) for module in plain.modules())
    ours = load_export(tmp_path, tuned.checkpoint, dtype="float32")
    torch.testing.assert_close(logits_of(plain, PROBES), logits_of(ours.model, PROBES), atol=1e-5, rtol=0)
    again = load_export(tmp_path, tuned.checkpoint, dtype="float32", base_bits=4)
    torch.testing.assert_close(logits_of(again.model, PROBES), logits_of(tuned.model, PROBES), atol=1e-5, rtol=0)
    assert float((logits_of(ours.model, PROBES) - logits_of(tuned.model, PROBES)).abs().max()) > 1e-2


def test_merging_goes_into_the_whole_base_and_says_so(louder, louder_folder, tmp_path, capsys) -> None:
    tuned = louder.with_model(learned(louder.model))
    save_adapter(tuned, tmp_path / "adapter")
    save_merged(merge(tuned), tmp_path / "merged")
    assert "over a base in four bits" in " ".join(capsys.readouterr().err.split())
    assert bits_of(tuned.model) == 4  # what was evaluated is left as it is
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    over_whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(louder_folder), tmp_path / "adapter")
    torch.testing.assert_close(logits_of(merged, PROBES), logits_of(over_whole, PROBES), atol=1e-4, rtol=0)
    assert check_export(tuned, tmp_path / "adapter", PROBES) < 1e-4
    assert check_export(tuned, tmp_path / "merged", PROBES) < 1e-3


def test_a_classifier_s_head_goes_along(encoder, tmp_path) -> None:
    model = learned(PooledClassifier(encoder.model, ("a", "b", "c")))
    tuned = encoder.with_model(model)
    save_adapter(tuned, tmp_path)
    assert check_export(tuned, tmp_path, PROBES) < 1e-4
    assert torch.equal(merge(tuned).model.head.weight, model.head.weight)


def test_what_is_saved_has_nothing_of_the_packed_base(louder, tmp_path) -> None:
    from safetensors import safe_open

    save_adapter(louder.with_model(learned(louder.model)), tmp_path)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert all("lora_" in name and "packed" not in name for name in file.keys())  # noqa: SIM118
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
