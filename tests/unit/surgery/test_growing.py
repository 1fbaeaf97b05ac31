"""Where a grown model is the small one, which layer is which, and what new neurons are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from scrimp.core.errors import ModelError
from scrimp.core.registry import build

IDS = torch.tensor([[5, 6, 7, 8, 9, 3], [1, 2, 3, 4, 5, 6]])
KINDS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
         "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


def model(kind: str = "llama", *, tied: bool = True, layers: int = 2, groups: int = 2, **more: object) -> Any:
    """Every number is drawn, norms and biases too, so that none can hide a mistake."""
    config, cls = KINDS[kind]
    torch.manual_seed(0)
    made = cls(config(vocab_size=50, hidden_size=24, intermediate_size=20, num_hidden_layers=layers, head_dim=6,
                      num_attention_heads=4, num_key_value_heads=groups, tie_word_embeddings=tied, **more)).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


@torch.inference_mode()
def logits(made: Any) -> torch.Tensor:
    return made(input_ids=IDS).logits


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["llama", "qwen2", "qwen3"]), st.booleans(), st.sampled_from([1, 2, 4]),
       st.floats(1, 3.2), st.integers(0, 5))
def test_own_copies_keep_the_function_whatever_the_factor(kind: str, tied: bool, groups: int, factor: float,
                                                          seed: int) -> None:
    small = model(kind, tied=tied, groups=groups)
    larger = build("growth", "bert2bert-fpi", {"factor": factor}).grow(small, seed=seed)
    assert 24 * factor <= larger.config.hidden_size < 24 * factor + larger.config.num_attention_heads
    wanted = logits(small)  # transformers' norms compute in float32, whatever the weights
    assert float((logits(larger) - wanted).abs().max()) < 1e-6 * float(wanted.abs().max())


@pytest.mark.parametrize("factor", [2, 1.5])
def test_in_single_precision_outputs_stay_to_a_hundred_thousandth(factor: float) -> None:
    small = model().float()
    larger = build("growth", "bert2bert-fpi", {"factor": factor}).grow(small)
    wanted = logits(small)
    assert float((logits(larger) - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def test_copies_without_the_norms_correction_would_not_keep_it() -> None:
    small = model()
    grow = build("growth", "bert2bert-fpi", {"factor": 1.5})
    weights, config = grow.apply(small.state_dict(), small.config.to_dict())
    tiled = weights["model.embed_tokens.weight"] / weights["model.embed_tokens.weight"].abs().max()
    larger = LlamaForCausalLM(LlamaConfig(**config)).double().eval()
    larger.load_state_dict({**weights, "model.embed_tokens.weight": tiled, "lm_head.weight": tiled})
    assert not torch.allclose(logits(larger), logits(small), rtol=1e-2)


def test_rows_from_the_next_layer() -> None:
    small = model(layers=3)
    weights, config = small.state_dict(), small.config.to_dict()
    own, _ = build("growth", "bert2bert-fpi").apply(weights, config)
    following, _ = build("growth", "bert2bert-aki").apply(dict(reversed(weights.items())), config)
    for part, old in (("mlp.up_proj", 20), ("self_attn.q_proj", 24), ("self_attn.o_proj", 24), ("mlp.down_proj", 24)):
        for layer in range(3):
            found = following[f"model.layers.{layer}.{part}.weight"]
            above = own[f"model.layers.{min(layer + 1, 2)}.{part}.weight"]
            assert torch.equal(found[:old], own[f"model.layers.{layer}.{part}.weight"][:old])
            assert torch.equal(found[old:], above[old:])
    assert torch.equal(following["model.embed_tokens.weight"], own["model.embed_tokens.weight"])
    assert not torch.allclose(logits(build("growth", "bert2bert-aki").grow(small)), logits(small))


@pytest.mark.parametrize(("name", "order"), [("stack", [0, 1, 2] * 3), ("interpolate", [0, 0, 0, 1, 1, 1, 2, 2, 2])])
def test_layers_are_repeated_in_order(name: str, order: list[int]) -> None:
    small = model("qwen2", layers=3)
    config = {**small.config.to_dict(), "layer_types": ["full_attention", "sliding_attention", "full_attention"]}
    grown, told = build("growth", name, {"factor": 3}).apply(small.state_dict(), config)
    for place, source in enumerate(order):
        for part in ("self_attn.q_proj.bias", "mlp.down_proj.weight", "input_layernorm.weight"):
            original = small.state_dict()[f"model.layers.{source}.{part}"]
            assert torch.equal(grown[f"model.layers.{place}.{part}"], original)
    assert told["num_hidden_layers"] == 9
    assert told["layer_types"] == [config["layer_types"][source] for source in order]
    assert torch.equal(grown["model.norm.weight"], small.state_dict()["model.norm.weight"])


def test_new_layers_that_write_nothing_keep_the_function_and_random_ones_do_not() -> None:
    small = model(attention_bias=True, mlp_bias=True)
    torch.testing.assert_close(logits(build("growth", "zero-layers", {"factor": 3}).grow(small)), logits(small))
    random = build("growth", "random-layers").grow(small)
    assert not torch.allclose(logits(random), logits(small))
    assert float(random.model.layers[2].mlp.up_proj.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert bool((random.model.layers[3].input_layernorm.weight == 1).all())
    assert bool((random.model.layers[3].mlp.up_proj.bias == 0).all())
    assert torch.equal(random.model.layers[1].mlp.up_proj.weight, small.model.layers[1].mlp.up_proj.weight)


def test_decoders_that_scale_by_their_width_are_refused() -> None:
    small = model()
    with pytest.raises(ModelError, match="gemma"):
        build("growth", "bert2bert-fpi").apply(small.state_dict(), {**small.config.to_dict(), "model_type": "gemma"})
