import pytest
import torch

from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build
from scrimp.tuning.adapters import compute_dtype, load_trainable_state, trainable, trainable_state


def frozen(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("name", ["lora", "full"])
def test_what_moves_in_a_language_model(causal, name):
    before = sum(p.numel() for p in causal.parameters())
    model = build("adapter", name).attach(causal)
    moving = trainable(model)
    assert moving
    assert all(("lora_" in n) == (name == "lora") for n in moving)
    assert (sum(p.numel() for p in moving.values()) == before) == (name == "full")


def test_lora_leaves_the_output_layer_alone(causal):
    model = build("adapter", "lora").attach(causal)
    assert not [n for n in trainable(model) if "lm_head" in n]


@pytest.mark.parametrize(("name", "encoder_moves"), [("lora", True), ("head", False), ("full", True)])
def test_what_moves_in_a_pooled_classifier(pooled, name, encoder_moves):
    moving = trainable(build("adapter", name).attach(pooled))
    assert {"head.weight", "head.bias"} <= set(moving)
    assert any(n.startswith("encoder") for n in moving) == encoder_moves
    assert not [n for n in moving if "pooler" in n]


def test_full_tuning_may_leave_the_vectors_of_tokens_alone(pooled):
    moving = trainable(build("adapter", "full", {"embeddings": False}).attach(pooled))
    held = {name for name, _ in pooled.named_parameters() if name not in moving and "pooler" not in name}
    assert held and all("embeddings" in name and name.endswith("weight") for name in held)
    assert "head.weight" in moving and any("LayerNorm" in name for name in moving)


def test_lora_starts_as_the_untouched_model(causal):
    ids = torch.arange(10)[None]
    causal.eval()
    with torch.no_grad():
        before = causal(ids).logits
        after = build("adapter", "lora").attach(causal)(ids).logits
    assert torch.equal(before, after)


def test_alpha_is_twice_the_rank_unless_said(causal):
    model = build("adapter", "lora", {"rank": 4}).attach(causal)
    assert model.peft_config["default"].lora_alpha == 8
    assert model.peft_config["default"].r == 4


@pytest.mark.parametrize("option", ["rank_stabilised", "decomposed"])
def test_variants_are_peft_s(causal, option):
    config = build("adapter", "lora", {option: True}).attach(causal).peft_config["default"]
    assert (config.use_rslora, config.use_dora) == (option == "rank_stabilised", option == "decomposed")


def test_chosen_targets(causal):
    model = build("adapter", "lora", {"targets": ["q_proj", "v_proj"]}).attach(causal)
    assert {n.split(".lora_")[0].rsplit(".", 1)[-1] for n in trainable(model)} == {"q_proj", "v_proj"}


def test_targets_that_are_not_there_are_told_with_those_that_are(causal):
    with pytest.raises(ModelError, match="q_proj"):
        build("adapter", "lora", {"targets": ["query"]}).attach(causal)


def test_a_language_model_has_no_head_to_train(causal):
    with pytest.raises(ModelError, match="no classification head"):
        build("adapter", "head").attach(causal)


@pytest.mark.parametrize("bad", [{"rank": 0}, {"dropout": 1.0}, {"alpha": -1}, {"targets": 7}, {"ranks": 8}])
def test_bad_options_are_refused(bad):
    with pytest.raises(OptionError):
        build("adapter", "lora", bad)


@pytest.mark.parametrize("name", ["lora", "full"])
def test_masters_are_float32_and_the_rest_keeps_its_precision(causal, name):
    model = build("adapter", name).attach(causal.to(torch.bfloat16))
    assert {p.dtype for p in trainable(model).values()} == {torch.float32}
    assert {p.dtype for p in frozen(model).values()} <= {torch.bfloat16}
    assert compute_dtype(model) == torch.bfloat16


def test_new_weights_depend_on_the_seed_alone(causal_folder):
    from transformers import AutoModelForCausalLM

    def attached(seed, noise):
        torch.manual_seed(noise)
        model = build("adapter", "lora").attach(AutoModelForCausalLM.from_pretrained(causal_folder), seed=seed)
        assert torch.initial_seed() == noise
        return trainable_state(model)

    one, same, other = attached(1, 5), attached(1, 6), attached(2, 5)
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("name", ["lora", "head", "full"])
def test_state_goes_out_and_in(pooled, name):
    model = build("adapter", name).attach(pooled)
    state = trainable_state(model)
    with torch.no_grad():
        for p in trainable(model).values():
            p.add_(1.0)
    load_trainable_state(model, state)
    assert all(torch.equal(p, state[n]) for n, p in trainable(model).items())


def test_a_foreign_state_is_refused_and_changes_nothing(pooled):
    model = build("adapter", "head").attach(pooled)
    before = trainable_state(model)
    with pytest.raises(ModelError, match="one side only"):
        load_trainable_state(model, {"head.weight": torch.zeros(2, 64)})
    with pytest.raises(ModelError, match="shape"):
        load_trainable_state(model, {"head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(2)})
    assert all(torch.equal(p, before[n]) for n, p in trainable(model).items())


@pytest.mark.parametrize("given", [{"targets": "all-linear"}, {"targets": ["self_attn.q_proj", "down_proj"]}])
def test_the_top_layers_alone_are_adapted_and_plain_peft_opens_them_so(causal_folder, tmp_path, given):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    adapter = build("adapter", "lora", {"top_layers": 1, **given})
    base = AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32)
    wanted = adapter.cost(base).parameters
    model = adapter.attach(base)
    names = list(trainable(model))
    assert names
    assert all(".layers.1." in name for name in names)
    assert sum(p.numel() for p in trainable(model).values()) == wanted
    with torch.no_grad():
        for p in trainable(model).values():
            p.normal_()
    model.save_pretrained(tmp_path)
    opened = AutoPeftModelForCausalLM.from_pretrained(tmp_path)
    assert opened.peft_config["default"].layers_to_transform == [1]
    assert [name for name, _ in opened.named_parameters() if "lora_" in name] == names
    ids = torch.arange(10)[None]
    assert torch.equal(opened.eval()(ids).logits, model.eval()(ids).logits)


def test_the_top_layers_of_an_encoder(pooled):
    moving = trainable(build("adapter", "lora", {"top_layers": 1}).attach(pooled))
    assert {name for name in moving if ".layer.1." not in name} == {"head.weight", "head.bias"}
    assert len(moving) == 2 + 6 * 2


def test_more_layers_than_there_are_is_an_error(causal):
    with pytest.raises(ModelError, match="of 2 layers there are no top 3"):
        build("adapter", "lora", {"top_layers": 3}).attach(causal)
