"""Other people's files, converted once."""

import os
import re
import struct

import pytest
import tiny
import torch
from breaking import edit_json
from safetensors.torch import load_file

from scrimp.checkpoints.conversion import convert_gguf, convert_pickled
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError


@pytest.fixture
def pickled(causal_copy):
    """The tiny Llama as it would have been published years ago."""
    weights = causal_copy / "model.safetensors"
    torch.save(load_file(weights), causal_copy / "pytorch_model.bin")
    weights.unlink()
    return causal_copy


class Runs:
    """A pickle that makes a folder when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_pickled_weights_are_refused_with_the_command_that_helps(pickled):
    with pytest.raises(ModelError, match="unpickling can run code") as caught:
        resolve(pickled)
    assert "convert_pickled" in caught.value.fix and str(pickled) in caught.value.fix


def test_the_command_works_as_it_is_told(pickled, tmp_path):
    import shlex
    import subprocess
    import sys

    odd = pickled.rename(tmp_path / "it's \"odd\" $HOME")
    with pytest.raises(ModelError) as caught:
        resolve(odd)
    command = shlex.split(caught.value.fix.partition(": ")[2].partition(": ")[2] or caught.value.fix)
    command = command[command.index("python"):]
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=True)
    assert load(resolve(done.stdout.strip().splitlines()[-1])).kind == "causal"


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "weights.pkl"])
def test_pickles_that_cannot_be_converted(pickled, name):
    (pickled / "pytorch_model.bin").rename(pickled / name)
    with pytest.raises(ModelError, match="unpickling can run code") as caught:
        resolve(pickled)
    assert caught.value.fix == "take the model in safetensors"
    with pytest.raises(ModelError, match="to convert"):
        convert_pickled(pickled)


def test_the_conversion_holds_the_same_numbers(pickled, causal_folder):
    converted = convert_pickled(pickled)
    loaded, stored = load(resolve(converted), dtype="float32"), load_file(causal_folder / "model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in loaded.model.named_parameters())
    assert resolve(converted).fingerprint != "" and convert_pickled(pickled) == converted
    assert (pickled / "pytorch_model.bin").exists() and not (pickled / "model.safetensors").exists()


def test_shards_that_share_memory(pickled, causal_folder):
    state = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    (pickled / "pytorch_model.bin").unlink()
    names = sorted(state)
    state |= {"lm_head.weight": state["model.embed_tokens.weight"]}
    for number, part in enumerate((names[:5], [*names[5:], "lm_head.weight"]), 1):
        torch.save({name: state[name] for name in part}, pickled / f"pytorch_model-0000{number}-of-00002.bin")
    (pickled / "pytorch_model.bin.index.json").write_text("{}")
    loaded, stored = load(resolve(convert_pickled(pickled))), load_file(causal_folder / "model.safetensors")
    assert set(dict(loaded.model.named_parameters())) == set(stored)


@pytest.mark.parametrize("payload", [
    lambda m: {"a": Runs(m)}, Runs, lambda m: [torch.ones(1)], lambda m: {"a": 1}, lambda m: {"model": {"a": 1}}])
def test_a_pickle_with_more_than_tensors_is_not_run(pickled, tmp_path, payload):
    marker = tmp_path / "it-was-run"
    torch.save(payload(marker), pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="more than plain tensors"):
        convert_pickled(pickled)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"PK\x03\x04 and no more", b"hello"])
def test_a_pickle_that_is_damaged(pickled, content):
    (pickled / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        convert_pickled(pickled)


def test_a_failed_conversion_leaves_nothing_that_counts(pickled):
    whole = (pickled / "pytorch_model.bin").read_bytes()
    edit_json(pickled / "config.json", note="another address")
    (pickled / "pytorch_model.bin").write_bytes(whole[:-100])
    for _ in range(2):
        with pytest.raises(ModelError):
            convert_pickled(pickled)
    (pickled / "pytorch_model.bin").write_bytes(whole)
    assert load(resolve(convert_pickled(pickled))).kind == "causal"


# GGUF -------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def gguf_file(causal_folder, tmp_path_factory):
    """The tiny Llama as llama.cpp would have it, in half precision."""
    return tiny.gguf(causal_folder, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_gguf_file_holds_the_same_model(gguf_file, causal_folder):
    loaded, before = load(resolve(gguf_file), dtype="float32"), load(resolve(causal_folder), dtype="float32")
    ids = before.tokenizer("what a good film, I loved it", return_tensors="pt")
    assert ids["input_ids"].tolist() == [loaded.tokenizer("what a good film, I loved it")["input_ids"]]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(**ids).logits, before.model(**ids).logits, atol=1e-3, rtol=1e-2)
    assert loaded.tokenizer.chat_template == before.tokenizer.chat_template
    assert (loaded.checkpoint.licence, loaded.tokenizer.model_max_length) == ("apache-2.0", 512)
    stored = load_file(loaded.checkpoint.path / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}  # holds all, at half the bytes


def test_digits_split_one_by_one(gguf_file):
    tokenizer = load(resolve(gguf_file)).tokenizer
    assert tokenizer.tokenize("\n\n12") == ["Ċ", "Ċ", "1", "2"]


def test_a_folder_with_one_gguf_file_is_that_file(gguf_file):
    assert resolve(gguf_file.parent).fingerprint == resolve(gguf_file).fingerprint


def test_a_folder_with_two_gguf_files(gguf_file, tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(gguf_file.read_bytes())
    with pytest.raises(ModelError, match="holds 2 GGUF files") as caught:
        resolve(tmp_path)
    assert "a.gguf" in caught.value.fix


@pytest.mark.parametrize("damage", [
    lambda b: b"", lambda b: b"GGUF", lambda b: b"GGML" + b[4:], lambda b: b[:200], lambda b: b[:len(b) // 2],
    lambda b: b[:-64], lambda b: b[:4] + struct.pack("<I", 99) + b[8:], lambda b: b.replace(b"llama", b"xyzzy"),
    lambda b: b[:8] + struct.pack("<Q", 1 << 60) + b[16:], lambda b: b[:16] + struct.pack("<Q", 1 << 60) + b[24:]])
def test_a_gguf_file_that_is_damaged(gguf_file, tmp_path, damage):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(gguf_file.read_bytes()))
    with pytest.raises(ModelError):
        load(resolve(path))


def after(content, name, *, skip=0):
    """Where what is said of the setting or tensor ``name`` begins."""
    return content.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + skip


def put(content, at, form, *values):
    new = struct.pack("<" + form, *values)
    return content[:at] + new + content[at + len(new):]


FORGED = {
    "an array of numbers": (lambda b: put(b, after(b, b"tokenizer.ggml.token_type", skip=8), "Q", 1 << 40), "items in"),
    "an array in the file's size": (lambda b: put(b, after(b, b"tokenizer.ggml.token_type", skip=8), "Q", len(b) - 9),
                                    "are to follow"),
    "an array of texts": (lambda b: put(b, after(b, b"tokenizer.ggml.tokens", skip=8), "Q", 1 << 22), "items in"),
    "an array of arrays": (lambda b: put(b, after(b, b"tokenizer.ggml.token_type", skip=4), "I", 9), "not read"),
    "a text": (lambda b: put(b, after(b, b"general.license", skip=4), "Q", 1 << 62), "are to follow byte"),
    "a setting's type": (lambda b: put(b, after(b, b"general.license"), "I", 77), "the type 77"),
    "a name": (lambda b: put(b, after(b, b"output_norm.weight", skip=-26), "Q", 1 << 50), "are to follow byte"),
    "axes": (lambda b: put(b, after(b, b"output_norm.weight"), "I", 1 << 31), "2147483648 axes"),
    "a shape": (lambda b: put(b, after(b, b"output_norm.weight", skip=4), "Q", 1 << 50), "the tensors end at byte"),
    "a shape of nothing": (lambda b: put(b, after(b, b"output_norm.weight", skip=4), "Q", 0), "cannot have the shape"),
    "a shape that overflows": (lambda b: put(b, after(b, b"token_embd.weight", skip=4), "QQ", 1 << 33, 1 << 33),
                               "the tensors end at byte"),
    "a tensor's type": (lambda b: put(b, after(b, b"output_norm.weight", skip=12), "I", 999), "unknown type 999"),
    "a place": (lambda b: put(b, after(b, b"output_norm.weight", skip=16), "Q", 1 << 63), "the tensors end at byte"),
    "tensors": (lambda b: put(b, 8, "Q", 1 << 60), "said to be 1152921504606846976 tensors"),
    "settings": (lambda b: put(b, 16, "Q", 1 << 60), "said to be 1152921504606846976 settings"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", FORGED)
def test_a_forged_header_is_held_against_the_file(gguf_file, tmp_path, what, monkeypatch):
    forge, why = FORGED[what]
    path = tmp_path / "forged.gguf"
    path.write_bytes(forge(gguf_file.read_bytes()))
    monkeypatch.setattr("gguf.GGUFReader", None)  # the library is not asked
    with pytest.raises(ModelError, match="its header does not fit the file") as caught:
        resolve(path)
    assert caught.value.where == str(path)
    assert re.search(why, caught.value.why), caught.value.why
    assert "download" in caught.value.fix


@pytest.mark.timeout(60)
@pytest.mark.parametrize("setting", ["block_count", "embedding_length", "feed_forward_length", "attention.head_count",
                                     "attention.head_count_kv", "vocab_size"])
def test_a_setting_that_is_larger_than_its_tensors_is_refused_before_a_model_is_made(gguf_file, tmp_path, setting,
                                                                                     monkeypatch):
    path = tmp_path / "large.gguf"
    content = gguf_file.read_bytes()
    path.write_bytes(put(content, after(content, f"llama.{setting}".encode(), skip=4), "I", 8372224))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)  # the library is not asked
    with pytest.raises(ModelError, match="do not fit its tensors") as caught:
        load(resolve(path))
    assert f"{setting} is 8372224" in caught.value.why


def test_a_gguf_name_without_a_file(tmp_path):
    with pytest.raises(ModelError, match="no model is named"):
        convert = tmp_path / "none.gguf"
        resolve(convert)
    with pytest.raises(ModelError, match="cannot be read"):
        convert_gguf(convert)
