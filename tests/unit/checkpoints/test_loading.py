"""From a name to a model in memory."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from breaking import edit_json, edit_tensors
from safetensors.torch import load_file, save_file

from scrimp.checkpoints import loading
from scrimp.checkpoints.loading import load, resolve
from scrimp.core import assets
from scrimp.core.errors import ModelError


def test_a_folder(causal_folder):
    found = resolve(causal_folder)
    assert (found.kind, found.path, found.licence) == ("causal", causal_folder, None)
    assert len(found.fingerprint) == 64


def test_a_folder_by_a_relative_name(causal_folder, monkeypatch):
    monkeypatch.chdir(causal_folder.parent)
    found = resolve(causal_folder.name)
    assert found.name == causal_folder.name and found.path.is_absolute()


def test_an_asset(causal_folder, monkeypatch):
    monkeypatch.setattr(loading, "obtain", {"smollm2-135m": causal_folder}.__getitem__)
    found = resolve("smollm2-135m")
    assert (found.path, found.licence, found.name) == (causal_folder, "apache-2.0", "smollm2-135m")


def test_data_is_no_model():
    with pytest.raises(ModelError, match="no model is named 'vader'"):
        resolve("vader")


@pytest.mark.parametrize(("card", "licence"), [
    ("---\nlicense: mit\n---\nhello", "mit"), ("no front matter", None), ("---\nlicense: [a, b]\n---\n", None),
    ("---\n: {\n---\n", None), ("---\n!!python/object/apply:os.getcwd []\n---\n", None),
    ("---\n- license\n---\n", None)])
def test_the_licence_is_the_cards(causal_copy, card, licence):
    (causal_copy / "README.md").write_text(card)
    assert resolve(causal_copy).licence == licence


@pytest.mark.parametrize("name", ["smolm2-135m", "~nobody-of-that-name/model", "a\0b", "x" * 5000, "a/b/c/d", "ü/ö"])
def test_a_name_of_nothing(name):
    with pytest.raises(ModelError, match="no model is named") as caught:
        resolve(name)
    assert "smollm2-135m" in caught.value.fix


def test_a_hub_id_without_the_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids") as caught:
        resolve("nobody/has-this-model")
    assert "smollm2-135m" in caught.value.fix and caught.value.where == "nobody/has-this-model"


def test_a_hub_id_that_the_hub_refuses(monkeypatch):
    import huggingface_hub

    def refuse(*args, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match="cannot give this model") as caught:
        resolve("owner/model")
    assert caught.value.why == "no route to host"


def test_a_hub_id_in_the_hubs_cache(causal_folder, monkeypatch):
    import huggingface_hub

    asked = {}

    def give(repository, **options):
        asked.update(options, repository=repository)
        return str(causal_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    assert resolve("owner/model").path == causal_folder
    assert asked["repository"] == "owner/model" and asked["local_files_only"]
    assert not any(pattern.endswith((".bin", ".py")) for pattern in asked["allow_patterns"])


def test_another_file_is_no_model(causal_folder):
    with pytest.raises(ModelError, match="is a file and no model folder"):
        resolve(causal_folder / "model.safetensors")


# fingerprints -----------------------------------------------------------------------------------------------------

def test_the_fingerprint_is_of_the_content_alone(causal_folder, causal_copy):
    (causal_copy / "README.md").write_text("a card changes no number")
    for path in causal_copy.iterdir():
        os.utime(path, (1, 1))
    assert resolve(causal_copy).fingerprint == resolve(causal_folder).fingerprint


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                                  "chat_template.jinja"])
def test_any_change_changes_the_fingerprint(causal_copy, name):
    before, path = resolve(causal_copy).fingerprint, causal_copy / name
    was = path.stat()
    data = bytearray(path.read_bytes())
    if name.endswith(".safetensors"):
        data[-1] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))  # same size, same time: the inode's own time tells
    else:
        path.write_bytes(bytes(data) + b"\n")
    assert resolve(causal_copy).fingerprint != before


def test_the_fingerprint_is_remembered(causal_copy, monkeypatch):
    before = resolve(causal_copy).fingerprint
    hashed = []

    def watched(thing, was=assets.fingerprint):
        hashed.append(getattr(thing, "name", None))
        return was(thing)

    monkeypatch.setattr(assets, "fingerprint", watched)
    assert resolve(causal_copy).fingerprint == before
    assert "model.safetensors" not in hashed


def test_damaged_notes_are_written_anew(causal_copy):
    before = resolve(causal_copy).fingerprint
    for note in (assets.cache().root / ".digests").iterdir():
        note.write_text('{"state": 1')
    assert resolve(causal_copy).fingerprint == before


# loading ----------------------------------------------------------------------------------------------------------

def test_a_causal_model_holds_the_files_numbers(causal_folder):
    loaded = load(resolve(causal_folder), dtype="float32")
    assert (loaded.kind, loaded.dtype, loaded.model.training) == ("causal", "float32", False)
    state, stored = loaded.model.state_dict(), load_file(causal_folder / "model.safetensors")
    assert all(torch.equal(state[name], value) for name, value in stored.items())
    assert state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
    assert loaded.parameters == sum(value.numel() for value in stored.values())
    assert loaded.pad_id == loaded.tokenizer.eos_token_id


def test_an_encoder_comes_without_pooler(encoder_folder):
    loaded = load(resolve(encoder_folder), dtype="float32")
    assert loaded.kind == "encoder" and getattr(loaded.model, "pooler", None) is None
    stored = load_file(encoder_folder / "model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in loaded.model.named_parameters())


def test_the_encoder_under_another_models_head(encoder_folder, encoder_copy):
    from transformers import AutoConfig, BertForSequenceClassification

    config = AutoConfig.from_pretrained(encoder_folder)
    BertForSequenceClassification(config).save_pretrained(encoder_copy)
    loaded = load(resolve(encoder_copy), dtype="float32")
    stored = load_file(encoder_copy / "model.safetensors")
    assert all(torch.equal(value, stored[f"bert.{name}"]) for name, value in loaded.model.named_parameters())


@pytest.mark.parametrize(("asked", "fast", "dtype"), [
    ("auto", True, "bfloat16"), ("auto", False, "float32"), ("float32", True, "float32"),
    ("bfloat16", False, "bfloat16")])
def test_the_dtype(causal_folder, monkeypatch, asked, fast, dtype):
    monkeypatch.setattr(loading, "fast_bf16", lambda: fast)
    loaded = load(resolve(causal_folder), dtype=asked)
    assert loaded.dtype == dtype
    assert {str(p.dtype) for p in loaded.model.parameters()} == {f"torch.{dtype}"}


@pytest.mark.parametrize(("able", "fast"), [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True),
                                            ({"avx2": True, "avx512_bf16": False}, False)])
def test_when_bf16_is_fast(monkeypatch, able, fast):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert loading.fast_bf16.__wrapped__() is fast


def test_shards(causal_folder, causal_copy):
    from transformers import AutoModelForCausalLM

    (causal_copy / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(causal_folder).save_pretrained(causal_copy, max_shard_size="100KB")
    assert len(list(causal_copy.glob("model-*.safetensors"))) > 1
    loaded = load(resolve(causal_copy), dtype="float32")
    stored = load_file(causal_folder / "model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in loaded.model.named_parameters())


def test_old_checkpoints_hold_buffers_that_are_now_computed(causal_copy):
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    edit_tensors(causal_copy / "model.safetensors", lambda w: w | extra)
    assert load(resolve(causal_copy), dtype="float32").kind == "causal"


def test_the_tokenizer_has_its_template(causal_folder):
    text = load(resolve(causal_folder)).tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(("pad", "eos", "expected"), [(3, 4, 3), (None, 4, 4), (None, None, 0), (0, 4, 0)])
def test_the_pad_token(causal_folder, pad, eos, expected):
    tokenizer = SimpleNamespace(pad_token_id=pad, eos_token_id=eos)
    assert loading.Loaded(None, tokenizer, resolve(causal_folder), "float32").pad_id == expected


# random numbers never stand in for what a file lacks --------------------------------------------------------------

@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight",
                                  "model.norm.weight"])
def test_a_missing_tensor(causal_copy, name):
    edit_tensors(causal_copy / "model.safetensors", lambda w: {k: v for k, v in w.items() if k != name})
    with pytest.raises(ModelError, match="do not fit the architecture") as caught:
        load(resolve(causal_copy))
    assert "missing" in caught.value.why


def test_an_output_layer_that_is_not_tied_and_not_there(causal_copy):
    edit_json(causal_copy / "config.json", tie_word_embeddings=False)
    with pytest.raises(ModelError, match="do not fit the architecture") as caught:
        load(resolve(causal_copy))
    assert "lm_head" in caught.value.why


def test_a_tensor_without_a_place(causal_copy):
    edit_tensors(causal_copy / "model.safetensors", lambda w: w | {"model.layers.7.extra": torch.ones(3)})
    with pytest.raises(ModelError, match="do not fit the architecture") as caught:
        load(resolve(causal_copy))
    assert "model.layers.7.extra" in caught.value.why


def test_an_encoder_tensor_without_a_place(encoder_copy):
    edit_tensors(encoder_copy / "model.safetensors", lambda w: w | {"encoder.layer.7.extra": torch.ones(3)})
    with pytest.raises(ModelError, match="do not fit the architecture"):
        load(resolve(encoder_copy))


def test_a_tensor_of_another_shape(causal_copy):
    edit_tensors(causal_copy / "model.safetensors", lambda w: w | {"model.norm.weight": torch.ones(63)})
    with pytest.raises(ModelError, match="model"):
        load(resolve(causal_copy))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38, -1e30])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_that_are_none(causal_copy, value, dtype):
    def plant(weights):
        weights["model.layers.0.mlp.up_proj.weight"][3, 5] = value
        return weights

    edit_tensors(causal_copy / "model.safetensors", plant)
    with pytest.raises(ModelError, match=r"up_proj\.weight' holds NaN or infinite"):
        load(resolve(causal_copy), dtype=dtype)


@pytest.mark.parametrize("length", ["512", [512], "none"])
def test_a_longest_text_that_is_no_number(causal_copy, length):
    edit_json(causal_copy / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(ModelError, match=r"model_max_length' is no number|cannot be loaded"):
        load(resolve(causal_copy))


def test_a_tokenizer_larger_than_the_embedding(causal_folder, causal_copy):
    edit_json(causal_copy / "config.json", vocab_size=300)
    edit_tensors(causal_copy / "model.safetensors",
                 lambda w: w | {"model.embed_tokens.weight": w["model.embed_tokens.weight"][:300]})
    with pytest.raises(ModelError, match="the model has 300 embeddings"):
        load(resolve(causal_copy))


@pytest.mark.parametrize("sizes", [
    {"intermediate_size": 1 << 23, "vocab_size": 1 << 23}, {"hidden_size": 1 << 24, "intermediate_size": 1 << 24}])
def test_a_model_far_larger_than_its_file_takes_no_memory(causal_copy, sizes):
    edit_json(causal_copy / "config.json", **sizes)
    with pytest.raises(ModelError, match="far larger model than the weights hold"):
        load(resolve(causal_copy))


def test_a_hundred_million_layers_under_another_name(causal_copy):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=512, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(causal_copy)
    assert load(resolve(causal_copy)).kind == "causal"
    edit_json(causal_copy / "config.json", n_layer=10**8)
    with pytest.raises(ModelError, match="far larger model than the weights hold"):
        load(resolve(causal_copy))


def test_whole_shards_beside_a_single_file_are_not_read(causal_copy):
    shutil.copy(causal_copy / "model.safetensors", causal_copy / "model-00001-of-00001.safetensors")
    (causal_copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    save_file({"a": torch.ones(1)}, causal_copy / "other.safetensors")
    assert load(resolve(causal_copy)).kind == "causal"
