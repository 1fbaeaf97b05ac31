"""Adapters that PEFT does not hold: their folders come from anyone."""

import pytest
import torch
from breaking import edit_json, edit_tensors

from scrimp.checkpoints.exporting import check_export, load_export, save_adapter
from scrimp.checkpoints.grafts import GRAFT_CONFIG, GRAFT_WEIGHTS
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError
from scrimp.core.registry import build


@pytest.fixture
def saved(causal_folder, tmp_path):
    loaded = load(resolve(causal_folder), dtype="float32")
    model = build("adapter", "random-mask", {"block": 16, "density": 0.05}).attach(loaded.model).eval()
    torch.nn.init.normal_(model.graft.values, std=0.1)
    save_adapter(loaded.with_model(model), tmp_path)
    assert check_export(loaded.with_model(model), tmp_path, [[5, 6, 7]]) == 0.0
    return tmp_path


def refused(saved, causal_folder, words):
    with pytest.raises(ModelError, match=words):
        load_export(saved, resolve(causal_folder), dtype="float32")


def test_two_files_without_pickle(saved):
    assert sorted(path.name for path in saved.iterdir()) == [GRAFT_CONFIG, GRAFT_WEIGHTS]


@pytest.mark.parametrize(("told", "words"), [
    ({"format": 2}, "format"), ({"adapter": 3}, "what adapter"), ({"adapter": "sparr"}, "no adapter that is installed"),
    ({"options": {"blok": 1}}, "no adapter that is installed"), ({"options": []}, "what adapter"),
    ({"options": {"block": 16, "density": 0.5, "choose": "random"}}, "does not fit"),
    ({"adapter": "lora", "options": {"rank": 8}}, "does not fit")])
def test_settings_that_are_not_these(saved, causal_folder, told, words):
    edit_json(saved / GRAFT_CONFIG, **told)
    refused(saved, causal_folder, words)


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: {**t, "values": t["values"] * float("nan")}, "NaN"),
    (lambda t: {**t, "chosen": t["chosen"] * 0 + 3}, "not those of this model"),
    (lambda t: {**t, "chosen": t["chosen"] * 10**6}, "not those of this model"),
    (lambda t: {"values": t["values"]}, "does not fit"), (lambda t: {**t, "more": torch.zeros(3)}, "does not fit"),
    (lambda t: {**t, "values": t["values"].double()}, "does not fit")])
def test_tensors_that_are_not_these(saved, causal_folder, change, words):
    edit_tensors(saved / GRAFT_WEIGHTS, change)
    refused(saved, causal_folder, words)


def test_damage_and_loss(saved, causal_folder):
    (saved / GRAFT_WEIGHTS).write_bytes(b"not tensors")
    refused(saved, causal_folder, "cannot be read")
    (saved / GRAFT_WEIGHTS).unlink()
    refused(saved, causal_folder, "cannot be read")


def test_a_prompt_that_would_load_a_tokenizer_is_refused(causal_folder, tmp_path):
    loaded = load(resolve(causal_folder), dtype="float32")
    save_adapter(loaded.with_model(build("adapter", "prompt").attach(loaded.model)), tmp_path)
    edit_json(tmp_path / "adapter_config.json", prompt_tuning_init="TEXT", prompt_tuning_init_text="x",
              tokenizer_name_or_path="somewhere/else")
    refused(tmp_path, causal_folder, "would load a tokenizer")
