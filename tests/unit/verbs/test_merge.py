"""`merge`: folders, runs and adapters become a folder that plain transformers loads, or nothing is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import scrimp
from scrimp.checkpoints.exporting import save_adapter
from scrimp.checkpoints.loading import load, resolve
from scrimp.cli.app import main
from scrimp.core.errors import GuardError, ModelError, OptionError, WorkspaceError
from scrimp.surgery.merging import folders
from scrimp.tuning.adapters import LoRA

State = dict[str, torch.Tensor]


def variant(base: Path, folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    """A copy of a model with every tensor changed."""
    shutil.copytree(base, folder)
    state = {name: change(name, tensor) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def experts(causal_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that differ from the base in one number and its opposite half."""
    root = tmp_path_factory.mktemp("experts")
    return [variant(causal_folder, root / name, lambda _, t, by=by: t + by) for name, by in (("a", 0.5), ("b", -0.25))]


def weights(folder: Path) -> State:
    return load_file(folder / "model.safetensors")


def test_python_and_shell_write_the_same_folder(experts: list[Path], causal_folder: Path, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    scrimp.merge([str(path) for path in experts], base=str(causal_folder), method="dare", density=0.5,
                 weights=[1, 0.5], out=tmp_path / "python", seed=7)
    assert main(["merge", *map(str, experts), "--base", str(causal_folder), "--method", "dare", "--density", "0.5",
                 "--weights", "1,0.5", "--seed", "7", "--out", str(tmp_path / "shell")]) == 0
    assert "dare of 2 models in" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "shell").iterdir()} == {p.name for p in (tmp_path / "python").iterdir()}
    for path in (tmp_path / "shell").iterdir():
        assert path.read_bytes() == (tmp_path / "python" / path.name).read_bytes(), path.name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["python", "shell"]


def test_plain_transformers_loads_the_sum(experts: list[Path], causal_folder: Path, tmp_path: Path) -> None:
    out = scrimp.merge(f"{experts[0]},{experts[1]}", base=str(causal_folder), out=tmp_path / "out")
    base, merged = weights(causal_folder), weights(out)
    assert base.keys() == merged.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, base[name] + 0.25)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template == tiny.CHATML
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    card = (out / "README.md").read_text()
    assert '"method": "task-arithmetic"' in card
    assert resolve(experts[0]).fingerprint in card
    assert str(experts[0].parent) not in card


def test_adapters_are_put_on_their_base_first(causal_folder: Path, tmp_path: Path) -> None:
    base = load(resolve(causal_folder), dtype="float32")
    wanted = {}
    for run in "ab":
        loaded = load(resolve(causal_folder), dtype="float32")
        adapted = LoRA(rank=2).attach(loaded.model, seed=ord(run))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(ord(run)))
        save_adapter(loaded.with_model(adapted), tmp_path / run / "model")
        plain = adapted.merge_and_unload().state_dict()
        wanted[run] = {name: tensor.clone() for name, tensor in plain.items()}
    out = scrimp.merge([str(tmp_path / "a"), str(tmp_path / "b" / "model")], base=str(causal_folder),
                       out=tmp_path / "out", method="re-adapt", scale=1.0)
    started = base.model.state_dict()
    for name, tensor in weights(out).items():
        sums = wanted["a"][name] + wanted["b"][name] - started[name]
        torch.testing.assert_close(tensor, sums)


def test_the_precision_is_the_first_models_or_the_adapters_bases(causal_folder: Path, tmp_path: Path) -> None:
    half = variant(causal_folder, tmp_path / "half", lambda _, t: t.bfloat16())
    loaded = load(resolve(half), dtype="bfloat16")
    save_adapter(loaded.with_model(LoRA(rank=2).attach(loaded.model)), tmp_path / "adapter")
    for place, models in enumerate(([half, causal_folder], [tmp_path / "adapter", causal_folder])):
        out = scrimp.merge([str(m) for m in models], base=str(half), method="soup", out=tmp_path / f"out{place}")
        assert {tensor.dtype for tensor in weights(out).values()} == {torch.bfloat16}


def test_models_that_compute_differently_are_refused(experts: list[Path], causal_folder: Path, tmp_path: Path) -> None:
    settings = json.loads((experts[1] / "config.json").read_text())
    other = variant(experts[1], tmp_path / "other", lambda _, t: t)
    (other / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.5}))
    with pytest.raises(ModelError, match="rms_norm_eps"):
        scrimp.merge([str(experts[0]), str(other)], method="soup", out=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other"]


def test_another_vocabulary_is_refused(experts: list[Path], tmp_path: Path) -> None:
    other = variant(experts[1], tmp_path / "other", lambda _, t: t)
    told = json.loads((other / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    words["the"], words["film"] = words.get("film", 390), words.get("the", 391)
    (other / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="another vocabulary"):
        scrimp.merge([str(experts[0]), str(other)], method="soup", out=tmp_path / "out")


def test_a_folder_that_is_another_model_than_was_merged_is_refused(
        experts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = folders.write_weights

    def spoiled(folder: Path, named: object) -> None:
        whole(folder, ((name, tensor * (1.5 if "model.norm" in name else 1)) for name, tensor in named))

    monkeypatch.setattr(folders, "write_weights", spoiled)
    with pytest.raises(GuardError, match="not the one"):
        scrimp.merge([str(path) for path in experts], method="soup", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "error", "told"), [
    ({"method": "tise"}, OptionError, "did you mean 'ties'"), ({"densty": 0.5}, OptionError, "did you mean 'density'"),
    ({"bsae": "x"}, OptionError, "did you mean 'base'"), ({"models": []}, OptionError, "models"),
    ({}, ModelError, "there is none"), ({"models": ["no-such-model"]}, ModelError, "no model is named"),
])
def test_what_cannot_be_merged_is_told(experts: list[Path], tmp_path: Path, options: dict, error: type,
                                       told: str) -> None:
    with pytest.raises(error, match=told):
        scrimp.merge(**{"models": [str(path) for path in experts], "out": tmp_path / "out", **options})
    assert not list(tmp_path.iterdir())


def test_an_adapter_without_its_base_and_a_full_folder_are_refused(causal_folder: Path, tmp_path: Path) -> None:
    loaded = load(resolve(causal_folder), dtype="float32")
    save_adapter(loaded.with_model(LoRA(rank=2).attach(loaded.model)), tmp_path / "adapter")
    with pytest.raises(ModelError, match="is an adapter, and the base"):
        scrimp.merge([str(tmp_path / "adapter")], method="soup", out=tmp_path / "out")
    with pytest.raises(WorkspaceError, match="not empty"):
        scrimp.merge([str(causal_folder)], method="soup", out=tmp_path / "adapter")


def test_encoders_merge_too(encoder_folder: Path, tmp_path: Path) -> None:
    other = variant(encoder_folder, tmp_path / "other", lambda _, t: t + 0.1 if t.is_floating_point() else t)
    out = scrimp.merge([str(other)], base=str(encoder_folder), method="wise-ft", out=tmp_path / "out")
    base = weights(encoder_folder)
    assert all(torch.allclose(t, base[n] + 0.05) for n, t in weights(out).items() if t.is_floating_point())
