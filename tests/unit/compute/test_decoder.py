"""The fast path: on every family the states and gradients of the usual one, and the model as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from scrimp.compute import decoder
from scrimp.compute.decoder import Packed, packed, packed_of
from scrimp.compute.kernels import Kernels
from scrimp.core.registry import build
from scrimp.tuning.adapters import trainable

SHAPE = {"vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3,
         "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0}
FAMILIES = {"llama": ("Llama", {}), "qwen2": ("Qwen2", {}), "qwen3": ("Qwen3", {"head_dim": 16}),
            "mistral": ("Mistral", {}), "gemma": ("Gemma", {"head_dim": 16})}


def model(family: str, adapter: str = "lora", **options: Any) -> nn.Module:
    """A random model of a family with an adapter that is no longer at its start."""
    name, more = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SHAPE, **more, **options.pop("config", {}))
    made = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3) if weight.ndim > 1 else weight.add_(0.1 * torch.randn_like(weight))
    adapted = build("adapter", adapter, options).attach(made)
    with torch.no_grad():
        for weight in trainable(adapted).values():
            weight.add_(0.05 * torch.randn_like(weight))
    return adapted.train()


def body_of(adapted: Any) -> Any:
    return adapted.get_base_model().get_decoder() if hasattr(adapted, "get_base_model") else adapted.get_decoder()


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of rows with a common instruction, with each other's beginnings, alone, and twice."""
    rng = np.random.default_rng(0)
    shared = rng.integers(1, 300, 160)
    some = [np.concatenate([shared, rng.integers(1, 300, n)]) for n in (30, 1, 70, 150)]
    some += [rng.integers(1, 300, n) for n in (5, 140, 9)]
    some += [shared[:100], shared, some[0], np.concatenate([some[2][:200], rng.integers(1, 300, 33)])]
    ids = torch.zeros(len(some), max(map(len, some)), dtype=torch.int64)
    for place, row in enumerate(some):
        ids[place, :len(row)] = torch.from_numpy(row)
    return ids, torch.tensor([[n < len(row) for n in range(ids.shape[1])] for row in some]).long()


def computed(adapted: nn.Module, states: Callable[..., torch.Tensor],
             every: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The states of real tokens, or of some, from last to first; the gradients that a weighting of them gives."""
    ids, mask = rows()
    at, places = (one[::every].flip(0) for one in mask.bool().nonzero(as_tuple=True))
    adapted.zero_grad()
    found = states(ids, mask, at, places)
    (found * torch.sin(torch.arange(found.numel()).view_as(found))).sum().backward()
    return found.detach(), torch.cat([p.grad.flatten() for p in trainable(adapted).values() if p.grad is not None])


def usual(adapted: nn.Module) -> Callable[..., torch.Tensor]:
    body = body_of(adapted)
    return lambda ids, mask, at, places: body(input_ids=ids, attention_mask=mask,
                                              use_cache=False).last_hidden_state[at, places]


def path_of(body: nn.Module) -> Packed:
    path = packed_of(body)
    assert path is not None
    return path


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(params=["fastest", "eager"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "eager":
        monkeypatch.setattr(decoder, "kernels_for", lambda like: Kernels())


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("every", [1, 3])
def test_every_family_has_the_states_and_gradients_of_the_usual_path(family: str, every: int) -> None:
    adapted = model(family)
    body = body_of(adapted)
    states, gradients = computed(adapted, usual(adapted), every)
    with packed(body) as reason:
        assert reason is None
        path = path_of(body)
        assert path.narrows
        ours, our_gradients = computed(adapted, path.states, every)
        padded, _ = computed(adapted, usual(adapted), every)
        assert path.computed() < int(rows()[1].sum()) / 2 and path.computed() == 0
    assert apart(ours, states) < 1e-5 and apart(padded, states) < 1e-5
    assert apart(our_gradients, gradients) < 5e-5


@pytest.mark.parametrize(("adapter", "options"), [
    ("full", {}), ("dylora", {}), ("lora", {"decomposed": True}), ("lora", {"targets": ("q_proj", "down_proj")}),
    ("random-mask", {"density": 0.1}), ("bottleneck", {})])
def test_other_adapters_go_the_same_way(adapter: str, options: dict[str, Any]) -> None:
    adapted = model("llama", adapter, **options).eval()  # DyLoRA draws ranks in training
    body = body_of(adapted)
    states, gradients = computed(adapted, usual(adapted), every=3)
    with packed(body):
        ours, our_gradients = computed(adapted, path_of(body).states, every=3)
    assert apart(ours, states) < 1e-5 and apart(our_gradients, gradients) < 5e-5


def test_only_tokens_whose_states_are_asked_for_go_through_the_last_network() -> None:
    adapted: Any = model("llama")
    body, seen = body_of(adapted), []
    with packed(body):
        inner = body.layers[-1].mlp.forward
        body.layers[-1].mlp.forward = lambda x: seen.append(x.shape[1]) or inner(x)
        computed(adapted, path_of(body).states, every=3)
    asked = -(-int(rows()[1].sum()) // 3)
    assert 0 < seen[0] <= asked


def test_who_looks_at_the_last_layer_sees_all_tokens() -> None:
    adapted: Any = model("llama")
    body, seen = body_of(adapted), []
    body.layers[-1].register_forward_hook(lambda layer, given, made: seen.append(made.shape[1]))
    with packed(body):
        assert not path_of(body).narrows
        ours, _ = computed(adapted, path_of(body).states, every=3)
        tokens = path_of(body).computed()
    assert seen == [tokens] and apart(ours, computed(adapted, usual(adapted), every=3)[0]) < 1e-5


def test_dropout_keeps_rows_apart() -> None:
    adapted = model("llama", dropout=0.5)
    with packed(body_of(adapted)):
        path = path_of(body_of(adapted))
        assert not path.shared
        computed(adapted.train(), path.states)
        assert path.computed() == int(rows()[1].sum())
        adapted.eval()
        ours, _ = computed(adapted, path.states)
        states, _ = computed(adapted, usual(adapted))
    assert apart(ours, states) < 1e-5


def test_rows_longer_than_attention_sees_are_not_taken() -> None:
    adapted = model("mistral", config={"sliding_window": 64})
    with packed(body_of(adapted)):
        path = path_of(body_of(adapted))
        assert path.takes(torch.ones(2, 64)) and not path.takes(torch.ones(2, 65))


def test_an_adapter_that_is_off_is_off() -> None:
    adapted: Any = model("llama")
    with packed(body_of(adapted)), adapted.disable_adapter():
        ours = path_of(body_of(adapted)).states(*rows(), *rows()[1].nonzero(as_tuple=True))
        plain = usual(adapted)(*rows(), *rows()[1].nonzero(as_tuple=True))
    assert apart(ours.detach(), plain.detach()) < 1e-5


def test_the_model_is_as_it_was_afterwards() -> None:
    adapted = model("llama")
    before = {name: module.forward for name, module in adapted.named_modules()}
    with pytest.raises(KeyError), packed(body_of(adapted)):
        assert {name for name, module in adapted.named_modules() if module.forward != before[name]}
        raise KeyError
    assert packed_of(body_of(adapted)) is None
    assert {name: module.forward for name, module in adapted.named_modules()} == before
    assert not any("forward" in vars(module) for module in adapted.modules())


def test_what_others_have_changed_or_hooked_is_left_to_them() -> None:
    adapted: Any = model("llama")
    body, seen = body_of(adapted), []
    layer, network = body.layers[0], body.layers[1].mlp
    layer.self_attn.v_proj.register_forward_hook(lambda *_: seen.append("hook"))
    network.forward = lambda x: seen.append("changed") or 0.5 * x
    states, gradients = computed(adapted, usual(adapted))
    seen.clear()
    with packed(body):
        ours, our_gradients = computed(adapted, path_of(body).states)
    assert seen == ["hook", "changed"] and "forward" in vars(network)
    assert apart(ours, states) < 1e-5 and apart(our_gradients, gradients) < 5e-5
    layer.self_attn.forward = layer.self_attn.forward
    with packed(body) as reason:
        assert reason == "its attention is not of the known form"


def test_unknown_families_stay_on_the_usual_path() -> None:
    config = transformers.GPT2Config(vocab_size=300, n_embd=48, n_layer=2, n_head=2)
    body = transformers.GPT2LMHeadModel(config).get_decoder()
    with packed(body) as reason:
        assert reason is not None and "gpt2" in reason and packed_of(body) is None


def test_attention_that_drops_out_stays_on_the_usual_path() -> None:
    with packed(body_of(model("llama", config={"attention_dropout": 0.1}))) as reason:
        assert reason == "it drops attention out"
