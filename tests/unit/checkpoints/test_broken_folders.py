"""Model folders from strangers: each fault is a ModelError, and nothing in a folder is ever run."""

import json
import struct
from pathlib import Path

import pytest
from breaking import edit_json, edit_tensors

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError

WEIGHTS = "model.safetensors"


def _header(folder: Path, change) -> None:
    """Rewrite the header of the weights and leave the numbers."""
    data = (folder / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.dumps(change(json.loads(data[8:8 + length]))).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length:])


def _index(folder: Path, places: object) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def _without(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def _cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[:int(keep * path.stat().st_size)])


FIRST = "model.norm.weight"
FAULTS = {
    "an empty folder": (lambda f: _without(f, "*"), "no config.json"),
    "no config": (lambda f: _without(f, "config.json"), "no config.json"),
    "a config that is a folder": (lambda f: (_without(f, "config.json"), (f / "config.json").mkdir()),
                                  "no config.json"),
    "a config that is a list": (lambda f: (f / "config.json").write_text("[1]"), "holds a list"),
    "a config that is cut": (lambda f: _cut(f / "config.json", .5), "cannot be read as JSON"),
    "a config of bytes": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\0"), "cannot be read as JSON"),
    "a config that is deep": (lambda f: (f / "config.json").write_text("[" * 10**5), "cannot be read as JSON"),
    "no architecture": (lambda f: edit_json(f / "config.json", model_type=None), "says no model_type"),
    "an architecture that is a list": (lambda f: edit_json(f / "config.json", model_type=["llama"]), "no model_type"),
    "architectures that are a text": (lambda f: edit_json(f / "config.json", architectures="Llama"), "no model_type"),
    "an unknown architecture": (lambda f: edit_json(f / "config.json", model_type="lama"), "did you mean 'llama'"),
    "an endless architecture": (lambda f: edit_json(f / "config.json", model_type="x" * 10**6), "is unknown"),
    "neither kind": (lambda f: edit_json(f / "config.json", model_type="clip_text_model", architectures=["X"]), None),
    "an encoder-decoder": (lambda f: edit_json(f / "config.json", is_encoder_decoder=True), "encoder-decoder"),
    "quantised": (lambda f: edit_json(f / "config.json", quantization_config={"bits": 4}), "quantised weights"),
    "weights by another name": (lambda f: edit_json(f / "config.json", transformers_weights="../x"), "is refused"),
    "a size that is a text": (lambda f: edit_json(f / "config.json", hidden_size="64"), "'hidden_size' cannot be"),
    "a size that is negative": (lambda f: edit_json(f / "config.json", vocab_size=-5), "'vocab_size' cannot be"),
    "a size that is huge": (lambda f: edit_json(f / "config.json", hidden_size=10**12), "'hidden_size' cannot be"),
    "a size that is no number": (lambda f: edit_json(f / "config.json", hidden_size=float("nan")), "cannot be nan"),
    "a million layers": (lambda f: edit_json(f / "config.json", num_hidden_layers=10**6), "1000000 layers"),
    "heads that do not divide": (lambda f: edit_json(f / "config.json", num_attention_heads=7), None),
    "an activation that is none": (lambda f: edit_json(f / "config.json", hidden_act="__import__"), None),
    "a type that is none": (lambda f: edit_json(f / "config.json", dtype="load", torch_dtype="load"), None),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "this is an adapter"),
    "no weights": (lambda f: _without(f, WEIGHTS), "no weights"),
    "weights that are empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "no safetensors file"),
    "weights that are cut": (lambda f: _cut(f / WEIGHTS, .9), "no safetensors file"),
    "weights that are cut in the header": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:50]),
                                           "no safetensors file"),
    "a header beyond the file": (lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 62) + b"{}"),
                                 "no safetensors file"),
    "a header that is no JSON": (lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 4) + b"{{{{"),
                                 "no safetensors file"),
    "a tensor beyond the file": (lambda f: _header(f, lambda h: h | {FIRST: h[FIRST] | {"data_offsets": [0, 1 << 40]}}),
                                 "no safetensors file"),
    "a tensor of an unknown type": (lambda f: _header(f, lambda h: h | {FIRST: h[FIRST] | {"dtype": "PICKLE"}}),
                                    "no safetensors file"),
    "a tensor of another length": (lambda f: _header(f, lambda h: h | {FIRST: h[FIRST] | {"shape": [63]}}),
                                   "no safetensors file"),
    "a tensor of whole numbers": (lambda f: _header(f, lambda h: h | {FIRST: h[FIRST] | {"dtype": "I32"}}),
                                  "no real numbers"),
    "an index without places": (lambda f: _index(f, {}), "has no weight_map"),
    "an index that is a list": (lambda f: _index(f, ["a"]), "has no weight_map"),
    "an index that leaves the folder": (lambda f: _index(f, {FIRST: "../other.safetensors"}), "of this folder"),
    "an index to the root": (lambda f: _index(f, {FIRST: "/etc/passwd"}), "of this folder"),
    "an index with backslashes": (lambda f: _index(f, {FIRST: "..\\other.safetensors"}), "of this folder"),
    "an index to a pickle": (lambda f: _index(f, {FIRST: "pytorch_model.bin"}), "of this folder"),
    "an index to a number": (lambda f: _index(f, {FIRST: 1}), "of this folder"),
    "a missing shard": (lambda f: _index(f, {FIRST: "model-00002-of-00002.safetensors"}), "shards are missing"),
    "an index to no tensor": (lambda f: _index(f, {"nothing": "model-00001-of-00001.safetensors"}), "in no shard"),
    "no tokenizer": (lambda f: _without(f, "tokenizer*", "chat_template*"), "no tokenizer"),
    "a tokenizer that is cut": (lambda f: _cut(f / "tokenizer.json", .7), None),
    "a tokenizer that is a list": (lambda f: (f / "tokenizer.json").write_text("[]"), None),
    "tokenizer settings that are a list": (lambda f: (f / "tokenizer_config.json").write_text("[]"), None),
    "generation settings that are a list": (lambda f: (f / "generation_config.json").write_text("[]"), None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault(causal_copy, fault):
    plant, told = FAULTS[fault]
    plant(causal_copy)
    with pytest.raises(ModelError) as caught:
        load(resolve(causal_copy))
    assert (told or "") in str(caught.value) and str(causal_copy) in str(caught.value)


def test_a_tokenizer_of_an_unknown_class_is_read_by_its_file(causal_copy):
    edit_json(causal_copy / "tokenizer_config.json", tokenizer_class="Os")
    assert load(resolve(causal_copy)).tokenizer("a film")["input_ids"]


CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Own(LlamaForCausalLM): pass
class OwnConfig(LlamaConfig): model_type = "own"
class OwnTokenizer(PreTrainedTokenizerFast): pass
"""


@pytest.fixture
def code_beside(causal_copy, tmp_path):
    """A model folder with code in it, and the file that the code would create."""
    marker = tmp_path / "it-was-run"
    for name in ("modeling_own", "configuration_own", "tokenization_own", "__init__", "conftest"):
        (causal_copy / f"{name}.py").write_text(CODE.format(marker=str(marker)))
    return marker


AUTO = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.Own",
        "AutoModelForCausalLM": "modeling_own.Own", "AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}


def test_a_model_that_needs_its_own_code(causal_copy, code_beside):
    edit_json(causal_copy / "config.json", model_type="own", auto_map=AUTO)
    with pytest.raises(ModelError, match="never run"):
        load(resolve(causal_copy))
    assert not code_beside.exists()


def test_code_that_a_known_architecture_does_not_need(causal_copy, code_beside):
    edit_json(causal_copy / "config.json", auto_map=AUTO)
    assert type(load(resolve(causal_copy)).model).__module__.startswith("transformers.")
    assert not code_beside.exists()


def test_a_tokenizer_with_code(causal_copy, code_beside):
    edit_json(causal_copy / "tokenizer_config.json", auto_map=AUTO, tokenizer_class="OwnTokenizer")
    try:
        found = type(load(resolve(causal_copy)).tokenizer).__module__
    except ModelError:
        found = "transformers."
    assert found.startswith("transformers.")
    assert not code_beside.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation",
                                 "_experts_implementation", "custom_generate", "custom_pipelines"])
def test_settings_that_name_code_elsewhere(causal_copy, code_beside, key):
    edit_json(causal_copy / "config.json", **{key: "someone/kernel"})
    try:
        loaded = load(resolve(causal_copy))
        assert loaded.model.config._attn_implementation == "sdpa"
    except ModelError:
        pass
    assert not code_beside.exists()


def test_a_shard_with_a_missing_tensor(causal_copy):
    name = "model-00001-of-00001.safetensors"
    edit_tensors(causal_copy / WEIGHTS, lambda w: {k: v for k, v in w.items() if k != FIRST})
    _index(causal_copy, {FIRST: name, "model.embed_tokens.weight": name})
    with pytest.raises(ModelError, match=f"1 tensors are in the index and in no shard, such as {FIRST}"):
        resolve(causal_copy)


def test_an_encoder_has_the_same_checks(encoder_copy):
    _cut(encoder_copy / WEIGHTS, .99)
    with pytest.raises(ModelError, match="no safetensors file"):
        resolve(encoder_copy)
