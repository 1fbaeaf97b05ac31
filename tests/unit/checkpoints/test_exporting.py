"""What leaves is the model that was evaluated, and others' tools load it."""

import json
import time

import pytest
import torch
from breaking import edit_json, edit_tensors
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from scrimp.checkpoints import patterns
from scrimp.checkpoints.exporting import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_export,
    check_parity,
    load_adapter,
    load_export,
    logits_of,
    merge,
    save_adapter,
    save_merged,
    verify_adapter_folder,
)
from scrimp.checkpoints.heads import HEAD_WEIGHTS, PooledClassifier, save_head
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import GuardError, ModelError, WorkspaceError

PROBES = [[5, 6, 7, 8, 9], [10, 11, 12], [40, 41, 42, 43, 44, 45, 46]]


def adapted(loaded, **settings):
    """The loaded model with a LoRA adapter that has learned something."""
    torch.manual_seed(7)
    model = get_peft_model(loaded.model, LoraConfig(**({"r": 4, "target_modules": "all-linear"} | settings)))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    return loaded.with_model(model.eval())


def classifier(loaded, pooling="mean"):
    """The adapted encoder under a head of three classes."""
    return loaded.with_model(PooledClassifier(adapted(loaded).model, ("a", "b", "c"), pooling=pooling).eval())


@pytest.fixture
def tuned(louder):
    return adapted(louder)


@pytest.fixture
def adapter(tuned, tmp_path):
    save_adapter(tuned, tmp_path / "adapter")
    return tmp_path / "adapter"


# others' tools ----------------------------------------------------------------------------------------------------

def test_plain_peft_loads_the_adapter(tuned, adapter, louder_folder):
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(louder_folder), str(adapter))
    torch.testing.assert_close(logits_of(plain, PROBES), logits_of(tuned.model, PROBES), atol=1e-5, rtol=0)
    assert sorted(path.name for path in adapter.iterdir()) == [ADAPTER_CONFIG, ADAPTER_WEIGHTS]


def test_the_adapter_names_its_base_as_it_was_asked_for(tuned, tmp_path):
    from dataclasses import replace

    named = replace(tuned, checkpoint=replace(tuned.checkpoint, name="smollm2-135m"))
    save_adapter(named, tmp_path)
    assert json.loads((tmp_path / ADAPTER_CONFIG).read_text())["base_model_name_or_path"] == "smollm2-135m"


def test_plain_transformers_loads_the_merged_folder(tuned, tmp_path):
    save_merged(merge(tuned), tmp_path)
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(plain, PROBES), logits_of(tuned.model, PROBES), atol=1e-4, rtol=0)
    text = "what a good film, I loved it 😀"
    assert tokenizer(text)["input_ids"] == tuned.tokenizer(text)["input_ids"]
    assert tokenizer.chat_template == tuned.tokenizer.chat_template
    assert plain.generation_config.eos_token_id == tuned.model.generation_config.eos_token_id


def test_the_pooled_classifier_in_ten_lines(encoder, encoder_folder, tmp_path):
    """The loader that the model card documents: merged encoder, mean of the attended states, one linear layer."""
    tuned = classifier(encoder)
    save_merged(merge(tuned), tmp_path)
    body, head = AutoModel.from_pretrained(tmp_path), load_file(tmp_path / HEAD_WEIGHTS)
    states = body(input_ids=torch.tensor([PROBES[0]])).last_hidden_state
    logits = states.mean(1) @ head["weight"].T + head["bias"]
    torch.testing.assert_close(logits, logits_of(tuned.model, PROBES[:1]), atol=1e-4, rtol=0)


# round trips ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"use_rslora": True}, {"target_modules": ["q_proj"]},
                                      {"lora_dropout": 0.5}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}])
def test_an_adapter_comes_back(louder, tmp_path, settings):
    tuned = adapted(louder, **settings)
    save_adapter(tuned, tmp_path)
    assert check_export(tuned, tmp_path, PROBES) == 0.0


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("form", ["adapter", "merged", "head alone"])
def test_a_classifier_comes_back(encoder, tmp_path, form, pooling):
    tuned = classifier(encoder, pooling)
    if form == "adapter":
        save_adapter(tuned, tmp_path)
    elif form == "merged":
        save_merged(merge(tuned), tmp_path)
    else:
        tuned = load(encoder.checkpoint, dtype="float32")
        tuned = tuned.with_model(PooledClassifier(tuned.model, ("a", "b"), pooling=pooling, seed=4).eval())
        save_head(tuned.model, tmp_path)
    assert check_export(tuned, tmp_path, PROBES) < 1e-4
    assert isinstance(load_export(tmp_path, encoder.checkpoint).model, PooledClassifier)


def test_merging_leaves_what_was_merged(tuned):
    before = logits_of(tuned.model, PROBES)
    plain = merge(tuned)
    assert not isinstance(plain.model, PeftModel) and isinstance(tuned.model, PeftModel)
    assert torch.equal(logits_of(tuned.model, PROBES), before)
    assert not any(value.requires_grad for value in plain.model.parameters()) and not plain.model.training
    weights = dict(plain.model.named_parameters())
    assert weights.keys() == dict(load(tuned.checkpoint).model.named_parameters()).keys()


def test_merging_keeps_the_bases_precision_and_its_tables(louder_folder):
    tuned = adapted(load(resolve(louder_folder), dtype="bfloat16"))
    plain = merge(tuned).model
    assert {value.dtype for value in plain.parameters()} == {torch.bfloat16}
    tables = dict(tuned.model.get_base_model().named_buffers())
    assert tables and all(torch.equal(value, tables[name]) for name, value in plain.named_buffers())


def test_merging_a_model_without_adapter_gives_it_back(louder):
    assert merge(louder) is louder


def test_an_adapter_of_no_numbers_is_not_merged(tuned):
    next(v for n, v in tuned.model.named_parameters() if "lora_B" in n).data.fill_(float("nan"))
    with pytest.raises(GuardError, match="no numbers"):
        merge(tuned)


def test_the_wrong_way_to_save(tuned, louder, tmp_path):
    with pytest.raises(ModelError, match="not merged yet"):
        save_merged(tuned, tmp_path)
    with pytest.raises(ModelError, match="has no adapter to save"):
        save_adapter(merge(tuned), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tuned, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError):
        save_adapter(tuned, tmp_path / "file" / "adapter")


def test_other_files_stay_and_nothing_half_written_does(tuned, tmp_path, monkeypatch):
    (tmp_path / "scrimp.json").write_text("{}")
    monkeypatch.setattr(PeftModel, "save_pretrained", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(ModelError, match="cannot be saved"):
        save_adapter(tuned, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scrimp.json"]


# the guard, with its faults planted -------------------------------------------------------------------------------

def test_an_honest_export_passes(tuned, tmp_path):
    save_merged(merge(tuned), tmp_path)
    assert check_export(tuned, tmp_path, [[], *PROBES]) < 1e-4


def test_lost_precision(tuned, tmp_path):
    save_merged(merge(tuned, dtype=torch.bfloat16), tmp_path)
    with pytest.raises(GuardError, match="not the one that was evaluated"):
        check_export(tuned, tmp_path, PROBES)


@pytest.mark.parametrize(("dtype", "allowed"), [(None, 0.5), (torch.float32, 1e-3)])
def test_a_bfloat16_base_merges_into_either_type(louder_folder, tmp_path, dtype, allowed):
    tuned = adapted(load(resolve(louder_folder), dtype="bfloat16"))
    save_merged(merge(tuned, dtype=dtype), tmp_path)
    assert check_export(tuned, tmp_path, PROBES) < allowed


def test_an_adapter_that_was_left_out_of_a_bfloat16_merge(louder_folder, tmp_path):
    tuned = adapted(load(resolve(louder_folder), dtype="bfloat16"))
    save_merged(load(resolve(louder_folder), dtype="bfloat16"), tmp_path)
    with pytest.raises(GuardError, match="not the one that was evaluated"):
        check_export(tuned, tmp_path, PROBES)


def test_a_changed_weight(tuned, tmp_path):
    save_merged(merge(tuned), tmp_path)

    def change(weights):
        weights["model.layers.1.mlp.down_proj.weight"][:, 0] += 1
        return weights

    edit_tensors(tmp_path / "model.safetensors", change)
    with pytest.raises(GuardError, match="a logit differs by"):
        check_export(tuned, tmp_path, PROBES)


def test_damage_that_would_pass_for_rounding(louder_folder, tmp_path):
    tuned = adapted(load(resolve(louder_folder), dtype="bfloat16"))
    save_merged(merge(tuned), tmp_path)
    name = "model.layers.0.self_attn.q_proj.weight"
    edit_tensors(tmp_path / "model.safetensors", lambda weights: weights | {name: weights[name] * 1.02})
    with pytest.raises(GuardError, match=r"a logit differs by 0\.[0-4].*, 0\.001 is tolerated"):
        check_export(tuned, tmp_path, PROBES)


def _swap(weights, part):
    first, second = (f"base_model.model.model.layers.{n}.self_attn.q_proj.{part}.weight" for n in (0, 1))
    return weights | {first: weights[second], second: weights[first]}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_adapter_tensors_that_changed_places(louder_folder, tmp_path, dtype, part):
    tuned = adapted(load(resolve(louder_folder), dtype=dtype))
    save_adapter(tuned, tmp_path)
    assert check_export(tuned, tmp_path, PROBES) == 0.0
    edit_tensors(tmp_path / ADAPTER_WEIGHTS, lambda w: _swap(w, part))
    with pytest.raises(GuardError, match="not the one that was evaluated"):
        check_export(tuned, tmp_path, PROBES)


def test_another_scale(tuned, adapter):
    edit_json(adapter / ADAPTER_CONFIG, lora_alpha=9)
    with pytest.raises(GuardError, match="not the one that was evaluated"):
        check_export(tuned, adapter, PROBES)


def test_a_head_that_lost_a_class(encoder, tmp_path):
    tuned = classifier(encoder)
    save_adapter(tuned, tmp_path)
    save_head(PooledClassifier(encoder.model, ("a", "b")), tmp_path)
    with pytest.raises(GuardError, match="other outputs"):
        check_export(tuned, tmp_path, PROBES)


@pytest.mark.parametrize("probes", [[], [[]]])
def test_nothing_to_compare_is_no_proof(tuned, adapter, probes):
    with pytest.raises(GuardError, match="nothing to compare"):
        check_export(tuned, adapter, probes)


def test_parity():
    ones = torch.ones(3, 4)
    assert check_parity(ones, ones + 0.25, where="x", tolerance=0.5) == 0.25
    for before, after in ((ones, ones + 0.75), (ones, ones[:2]), (ones, ones * float("nan")), (ones[:0], ones[:0]),
                          (ones * float("inf"), ones * float("inf")), (ones, -ones * float("inf"))):
        with pytest.raises(GuardError) as caught:
            check_parity(before, after, where="x", tolerance=0.5)
        assert caught.value.where == "x"


# adapters from strangers ------------------------------------------------------------------------------------------

HOSTILE = {
    "no type": {"peft_type": None}, "a list as type": {"peft_type": ["LORA"]}, "an unknown type": {"peft_type": "EVIL"},
    "another type": {"peft_type": "PREFIX_TUNING"}, "an unknown task": {"task_type": "EVIL"},
    "a huge rank": {"r": 10**5}, "an endless rank": {"r": 10**30}, "a rank of text": {"r": "4"}, "no rank": {"r": 0},
    "a negative rank": {"r": -4}, "a rank of list": {"r": [4]}, "a rank that is true": {"r": True},
    "a scale that is none": {"lora_alpha": float("nan")}, "an endless scale": {"lora_alpha": float("inf")},
    "a scale of text": {"lora_alpha": "8"}, "a pattern of scales that are none": {"alpha_pattern": {"q": float("nan")}},
    "a pattern that is a list": {"rank_pattern": [4]}, "a pattern of text": {"rank_pattern": {"q_proj": "4"}},
    "no layers": {"target_modules": ["nothing"]}, "layers that are a number": {"target_modules": 7},
    "other layers": {"target_modules": ["q_proj"]}, "a pattern that is none": {"target_modules": "(("},
    "code to import": {"megatron_config": {"a": 1}, "megatron_core": "os"},
    "layers repeated": {"layer_replication": [[0, 2], [0, 2]]}, "loftq": {"loftq_config": {"loftq_bits": 4}},
    "a start that changes the base": {"init_lora_weights": "pissa"}, "olora": {"init_lora_weights": "olora"},
    "pissa by steps": {"init_lora_weights": "pissa_niter_4"},
    "a start that is a list": {"init_lora_weights": ["pissa"]},
    "a dropout that is none": {"lora_dropout": "x"}, "a bias that is none": {"bias": "every"},
    "modules that are not there": {"modules_to_save": ["lm_head"]}, "dora": {"use_dora": True},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_settings(louder_once, adapter, case):
    edit_json(adapter / ADAPTER_CONFIG, **HOSTILE[case])
    fresh = load(louder_once.checkpoint, dtype="float32")
    with pytest.raises(ModelError):
        load_adapter(fresh, adapter)
    assert torch.equal(logits_of(fresh.model, PROBES), logits_of(louder_once.model, PROBES))


ENDLESS = {
    "layers": {"target_modules": r"(\w+\.?)+(\w+\.?)+!"},
    "layers, by choices": {"target_modules": r"(\w\.?|.|..)" * 15 + "!"},
    "layers, by steps": {"target_modules": ".*" * 40 + "!"}, "excluded layers": {"exclude_modules": r"(.*)*(.*)*!"},
    "kept modules": {"modules_to_save": [r"(\w+)+!"]}, "a pattern of layers": {"layers_pattern": [r"(\w+\.)+!"]},
    "a pattern of layers as text": {"layers_pattern": r"(\w+\.)+!"}, "ranks": {"rank_pattern": {"(.*)*!": 4}},
    "scales": {"alpha_pattern": {"(.*)*!": 4}}, "parameters": {"target_parameters": ["(.*)*!"]},
    "no pattern": {"target_modules": "(("}, "groups in groups": {"target_modules": "(" * 10**5 + ")" * 10**5},
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", ENDLESS)
def test_a_pattern_that_would_take_forever(louder_once, adapter, case, monkeypatch):
    monkeypatch.setattr(patterns, "_MOST_S", 1)
    edit_json(adapter / ADAPTER_CONFIG, **ENDLESS[case])
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        verify_adapter_folder(adapter, louder_once.model)
    assert time.monotonic() - start < 10
    assert caught.value.where.endswith(ADAPTER_CONFIG)
    assert "names" in caught.value.fix


@pytest.mark.parametrize("pattern", [
    r".*\.((q|k|v|o|gate|up|down)_proj)",
    r"(?:.*?(?:self_attn|mlp).*?(?:[qkvo]_proj|gate_proj|up_proj|down_proj).*?)|(?:\bnone\.layers\.[\d]{1,}\.x)"])
def test_a_fair_pattern_means_what_it_meant_to_peft(louder_folder, adapter, tuned, pattern):
    edit_json(adapter / ADAPTER_CONFIG, target_modules=pattern, exclude_modules=r".*\.lm_head")
    fresh = load(resolve(louder_folder), dtype="float32")
    assert torch.equal(logits_of(load_adapter(fresh, adapter).model, PROBES), logits_of(tuned.model, PROBES))


@pytest.mark.parametrize("base", ["/etc/passwd", "../../x", "evil/model", "~", ["a"], {"a": 1}, 7])
def test_the_base_that_an_adapter_names_is_not_followed(louder_folder, adapter, tuned, base):
    edit_json(adapter / ADAPTER_CONFIG, base_model_name_or_path=base, revision="evil", auto_mapping={
        "base_model_class": "system", "parent_library": "os"})
    fresh = load(resolve(louder_folder), dtype="float32")
    try:
        logits = logits_of(load_adapter(fresh, adapter).model, PROBES)
    except ModelError:
        return
    assert torch.equal(logits, logits_of(tuned.model, PROBES))


FAULTS = {
    "no settings": lambda f: (f / ADAPTER_CONFIG).unlink(),
    "settings that are a list": lambda f: (f / ADAPTER_CONFIG).write_text("[]"),
    "settings that are cut": lambda f: (f / ADAPTER_CONFIG).write_text('{"peft_type": "LORA",'),
    "no weights": lambda f: (f / ADAPTER_WEIGHTS).unlink(),
    "weights that are cut": lambda f: (f / ADAPTER_WEIGHTS).write_bytes((f / ADAPTER_WEIGHTS).read_bytes()[:-9]),
    "a missing tensor": lambda f: edit_tensors(f / ADAPTER_WEIGHTS, lambda w: dict(list(w.items())[1:])),
    "a tensor too many": lambda f: edit_tensors(f / ADAPTER_WEIGHTS, lambda w: w | {"norm.weight": torch.ones(4)}),
    "another rank": lambda f: edit_tensors(f / ADAPTER_WEIGHTS, lambda w: {k: v[..., :2] for k, v in w.items()}),
    "numbers that are none": lambda f: edit_tensors(f / ADAPTER_WEIGHTS, lambda w: {k: v / 0 for k, v in w.items()}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_adapter(louder_folder, adapter, fault):
    FAULTS[fault](adapter)
    with pytest.raises(ModelError):
        load_adapter(load(resolve(louder_folder)), adapter)


def test_numbers_that_are_none_in_what_replaces_a_layer(louder, tmp_path):
    tuned = adapted(louder, modules_to_save=["lm_head"])
    save_adapter(tuned, tmp_path)
    name = next(n for n in load_file(tmp_path / ADAPTER_WEIGHTS) if "lm_head" in n)
    edit_tensors(tmp_path / ADAPTER_WEIGHTS, lambda w: w | {name: w[name] * float("nan")})
    with pytest.raises(ModelError, match="NaN"):
        load_adapter(load(louder.checkpoint), tmp_path)


def test_a_pickled_adapter_is_not_read(louder_folder, adapter, tmp_path):
    import os

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it-was-run"),)

    torch.save({"a": Runs()}, adapter / "adapter_model.bin")
    fresh = load(resolve(louder_folder))
    load_adapter(fresh, adapter)
    (adapter / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"there is no adapter_model\.safetensors") as caught:
        load_adapter(load(resolve(louder_folder)), adapter)
    assert "pickled weights are not read" in caught.value.fix
    assert not (tmp_path / "it-was-run").exists()


def test_an_adapter_of_another_model(adapter, causal_folder, tmp_path):
    import tiny

    other = load(resolve(tiny.causal(tmp_path / "other", hidden=32)))
    with pytest.raises(ModelError, match="does not fit this model"):
        load_adapter(other, adapter)


def test_verifying_touches_nothing(louder, adapter):
    before = {name: value.clone() for name, value in louder.model.state_dict().items()}
    assert verify_adapter_folder(adapter, louder.model)["r"] == 4
    after = louder.model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(value.is_meta for value in louder.model.parameters())


def test_without_an_adapter_the_export_is_the_base(louder, louder_folder, tmp_path):
    again = load_export(tmp_path, louder.checkpoint, dtype="float32")
    assert torch.equal(logits_of(again.model, PROBES), logits_of(louder.model, PROBES))
