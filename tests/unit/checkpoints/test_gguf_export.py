"""A GGUF file is read back by transformers as the model and the tokenizer that were evaluated, or it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from peft import LoraConfig, get_peft_model

from scrimp.checkpoints import ggufpositions, ggufwords, ggufwriting
from scrimp.checkpoints.conversion import convert_gguf
from scrimp.checkpoints.exporting import logits_of
from scrimp.checkpoints.ggufwriting import ARCHITECTURES, check_gguf_export, own_type, save_gguf
from scrimp.checkpoints.loading import Loaded, load, resolve
from scrimp.core.errors import GuardError, ModelError

PROBES = [[5, 6, 7, 8, 9], [10, 11, 12], [40, 41, 42, 43, 44, 45, 46]]
TEXTS = ["what a good film, I loved it", "1 + 2 = 3 <|im_end|>"]
OWN: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": 128}, "mistral": {"sliding_window": 256}, "gemma2": {"sliding_window": 4},  # heads of 256
    "gemma3_text": {"sliding_window": 4, "num_hidden_layers": 7},
}


def made(folder: Path, kind: str, *, tokenizer: Any = None, **settings: Any) -> Loaded:
    """A random model of that type, loud enough that its logits tell models apart."""
    words = tokenizer or tiny.tokenizer(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")
    words.chat_template = tiny.CHATML
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(kind, **{
        "vocab_size": len(words) + 48, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 0,
        "eos_token_id": 1, "pad_token_id": 1, **OWN.get(kind, {}), **settings})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.normal_(std=0.3 if "norm" in name else 0.2)
            value.add_(1.0 if "norm" in name and "gemma" not in kind else 0.0)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return load(resolve(folder), dtype="float32")


def adapted(loaded: Loaded) -> Loaded:
    torch.manual_seed(7)
    model = get_peft_model(loaded.model, LoraConfig(r=4, target_modules="all-linear"))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    return loaded.with_model(model.eval())


def written(loaded: Loaded, folder: Path, weights: Any = "f32") -> Path:
    save_gguf(loaded, folder / "model.gguf", weights=weights, name="tiny")
    return folder / "model.gguf"


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_every_architecture_is_read_back_as_it_was(kind: str, tmp_path: Path) -> None:
    tuned = adapted(made(tmp_path / "base", kind))
    assert check_gguf_export(tuned, written(tuned, tmp_path), PROBES, TEXTS, weights="f32") < 1e-3


@pytest.mark.parametrize(("weights", "within"), [("f32", 1e-3), ("f16", 0.05), ("bf16", 0.5), ("q8_0", 1.0)])
def test_every_weight_type_is_within_its_rounding(louder: Loaded, tmp_path: Path, weights: Any, within: float) -> None:
    path = written(tuned := adapted(louder), tmp_path, weights)
    assert check_gguf_export(tuned, path, PROBES, TEXTS, weights=weights) < within
    assert weights == "f32" or path.stat().st_size < written(tuned, tmp_path).stat().st_size


def test_weights_have_the_type_that_they_had(louder: Loaded, causal_folder: Path) -> None:
    assert own_type(louder) == "f32"
    assert own_type(load(resolve(causal_folder), dtype="bfloat16")) == "bf16"


def test_an_output_of_its_own_and_biases(tmp_path: Path) -> None:
    loaded = made(tmp_path / "base", "qwen2", tie_word_embeddings=False)
    assert check_gguf_export(loaded, written(loaded, tmp_path), PROBES, TEXTS, weights="f32") < 1e-3


LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


@pytest.mark.parametrize("scaled", [LLAMA3, LINEAR, {
    **LLAMA3, "low_freq_factor": 1.5, "high_freq_factor": 5.0, "original_max_position_embeddings": 64}])
def test_scaled_positions_are_in_the_file_and_read_again(scaled: dict[str, Any], tmp_path: Path) -> None:
    loaded = made(tmp_path / "base", "llama", rope_parameters=scaled, head_dim=64)
    path = written(loaded, tmp_path)
    assert check_gguf_export(loaded, path, PROBES, TEXTS, weights="f32") < 1e-3
    again = transformers.AutoModelForCausalLM.from_pretrained(convert_gguf(path))  # of the folder that is made of it
    assert again.config.rope_parameters["rope_type"] == scaled["rope_type"]
    torch.testing.assert_close(logits_of(again, PROBES), logits_of(loaded.model, PROBES), atol=1e-3, rtol=1e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ggufpositions, "scale_positions", lambda *given: None)
        with pytest.raises(GuardError, match="not the one"):
            check_gguf_export(loaded, path, PROBES, TEXTS, weights="f32")


@pytest.mark.parametrize(("told", "rule"), [
    ({"scaling.type": "linear", "scaling.factor": 8.0}, {"rope_type": "linear", "factor": 8.0}),
    ({"scale_linear": 2.0}, {"rope_type": "linear", "factor": 2.0}),
    ({"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.original_context_length": 64},
     {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    ({"scaling.type": "none"}, {"rope_type": "default"}), ({}, {"rope_type": "default"}),
])
def test_what_settings_say_of_positions_is_done(told: dict[str, Any], rule: dict[str, Any], tmp_path: Path) -> None:
    loaded = made(tmp_path / "base", "qwen2")
    plain = loaded.model.model.rotary_emb.inv_freq.clone()
    settings = {"general.architecture": "qwen2", **{f"qwen2.rope.{name}": value for name, value in told.items()}}
    ggufpositions.scale_positions(loaded.model, settings, written(loaded, tmp_path))
    assert rule.items() <= loaded.model.config.rope_parameters.items()
    assert torch.equal(plain, loaded.model.model.rotary_emb.inv_freq) == (rule["rope_type"] == "default")


@pytest.mark.parametrize("told", [
    {"scaling.type": "longrope", "scaling.factor": 4.0}, {"scaling.type": "linear", "scaling.factor": "4"},
    {"scaling.type": "yarn", "scaling.factor": 4.0}, {"scaling.type": "linear", "scaling.factor": -1.0},
    {"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.original_context_length": 64,
     "scaling.yarn_log_multiplier": 0.1},
])
def test_positions_that_are_scaled_by_no_known_rule_are_refused(told: dict[str, Any], tmp_path: Path) -> None:
    loaded = made(tmp_path / "base", "qwen2")
    settings = {"general.architecture": "qwen2", **{f"qwen2.rope.{name}": value for name, value in told.items()}}
    with pytest.raises(ModelError, match="not read from GGUF"):
        ggufpositions.scale_positions(loaded.model, settings, written(loaded, tmp_path))


@pytest.mark.parametrize(("theta", "factor", "low", "high", "length"), [
    (500000.0, 8.0, 1.0, 4.0, 8192), (500000.0, 32.0, 1.0, 4.0, 8192), (10000.0, 4.0, 2.0, 6.0, 3000)])
def test_the_rule_behind_divisors_is_found(theta: float, factor: float, low: float, high: float, length: int) -> None:
    def divided(rule: dict[str, float]) -> np.ndarray:
        share = np.clip((rule["original_max_position_embeddings"] / waves - rule["low_freq_factor"])
                        / (rule["high_freq_factor"] - rule["low_freq_factor"]), 0, 1)
        return 1 / ((1 - share) / rule["factor"] + share)

    waves = 2 * np.pi * theta ** (np.arange(64) / 64)
    wanted = divided({"factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                      "original_max_position_embeddings": length})
    found = ggufpositions.llama3_rule(wanted.astype(np.float32).astype(np.float64), theta)
    assert found is not None
    np.testing.assert_allclose(divided(found), wanted, rtol=1e-3)
    assert ggufpositions.llama3_rule(wanted[::-1].copy(), theta) is None


def test_a_begin_token_is_put_before_texts_again(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    words = tiny.tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", words.bos_token_id)])
    loaded = made(tmp_path / "base", "llama", tokenizer=words)
    assert loaded.tokenizer("a")["input_ids"][0] == words.bos_token_id
    assert check_gguf_export(loaded, written(loaded, tmp_path), PROBES, TEXTS, weights="f32") < 1e-3


def sentences() -> Any:
    """Words of characters with a mark for the space, and bytes for what is unknown, as Llama 2 has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.Metaspace()
    base.train_from_iterator(tiny.TEXT * 10, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    learned = sorted(base.get_vocab(), key=base.get_vocab().__getitem__)
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned]
    merges = [tuple(merge) for merge in json.loads(base.to_str())["model"]["merges"]]
    return transformers.LlamaTokenizer(vocab={word: place for place, word in enumerate(words)}, merges=merges)


def test_words_of_sentencepiece_come_back(tmp_path: Path) -> None:
    loaded = made(tmp_path / "base", "llama", tokenizer=sentences())
    assert check_gguf_export(loaded, written(loaded, tmp_path), PROBES, TEXTS, weights="f32") < 1e-3


# what is refused ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("weights", ["f32", "f16", "bf16", "q8_0"])
def test_rows_in_transformers_order_are_found(louder: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              weights: Any) -> None:
    monkeypatch.setattr(ggufwriting, "_laid_out", lambda name, value, config: value)
    path = written(louder, tmp_path, weights)
    with pytest.raises(GuardError, match="not the one that was evaluated"):
        check_gguf_export(louder, path, PROBES, TEXTS, weights=weights)


def test_norms_without_their_one_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = made(tmp_path / "base", "gemma2")
    monkeypatch.setattr(ggufwriting, "_laid_out", lambda name, value, config: value)
    with pytest.raises(GuardError, match="not the one that was evaluated"):
        check_gguf_export(loaded, written(loaded, tmp_path), PROBES, TEXTS, weights="f32")


def test_an_adapter_that_was_left_out_is_found(louder: Loaded, tmp_path: Path) -> None:
    path = written(louder, tmp_path)
    with pytest.raises(GuardError, match="not the one"):
        check_gguf_export(adapted(louder), path, PROBES, TEXTS, weights="f32")


def test_a_rule_of_splitting_that_is_another_is_found(louder: Loaded, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggufwords, "_splitting", lambda rule: "llama-bpe")
    with pytest.raises(GuardError, match="tokenizer is not the one"):
        check_gguf_export(louder, written(louder, tmp_path), PROBES, TEXTS, weights="f32")


def test_words_that_are_never_cut_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tiny.tokenizer(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")
    words.add_tokens(["<think>"])
    words.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    loaded = made(tmp_path / "base", "llama", tokenizer=words)
    assert check_gguf_export(loaded, written(loaded, tmp_path), PROBES, TEXTS, weights="f32") < 1e-3
    monkeypatch.setattr(ggufwords, "_kinds", lambda told: {})
    with pytest.raises(GuardError, match="tokenizer is not the one"):
        check_gguf_export(loaded, written(loaded, tmp_path), PROBES, TEXTS, weights="f32")


def test_a_file_that_was_cut_short_is_found(louder: Loaded, tmp_path: Path) -> None:
    path = written(louder, tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="does not fit the file"):
        check_gguf_export(louder, path, PROBES, TEXTS, weights="f32")


def test_nothing_to_compare_on_is_no_proof(louder: Loaded, tmp_path: Path) -> None:
    with pytest.raises(GuardError, match="nothing to compare"):
        check_gguf_export(louder, written(louder, tmp_path), [[]], [], weights="f32")


def test_what_cannot_be_written_says_what_can(encoder: Loaded, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'bert' cannot be written") as caught:
        written(encoder, tmp_path)
    assert "llama, mistral, qwen2, qwen3" in str(caught.value.why) and "form: onnx" in str(caught.value.fix)
    with pytest.raises(ModelError, match="scaled as if of 256"):
        written(made(tmp_path / "wide", "gemma2", head_dim=16), tmp_path)
    scaled = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    with pytest.raises(ModelError, match="'dynamic'"):
        written(made(tmp_path / "base", "llama", rope_parameters=scaled), tmp_path)


def test_a_tokenizer_that_gguf_has_no_name_for(louder: Loaded, tmp_path: Path) -> None:
    from tokenizers import pre_tokenizers

    words = tiny.tokenizer(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")
    words.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    with pytest.raises(ModelError, match="tokenizer cannot be written"):
        written(replace(louder, tokenizer=words), tmp_path)
    more = tiny.tokenizer(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")
    more.add_tokens(["<more>"])
    with pytest.raises(ModelError, match="beyond the"):
        written(replace(louder, tokenizer=more), tmp_path)
