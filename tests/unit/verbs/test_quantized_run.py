"""`tune` over a base in four bits, from the rows to what is exported: what it costs is measured and said."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from unit.verbs.test_real_runs import rows

import scrimp
from scrimp.checkpoints.exporting import logits_of
from scrimp.checkpoints.quantized import bits_of
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.ledger import Ledger
from scrimp.evaluation.outcome import Outcome
from scrimp.serving.predictors import load_predictor

PROBES = [[5, 6, 7, 8, 9], [10, 11, 12]]


def tune(place: Path, model: Path, **options: object) -> Outcome:
    return scrimp.tune(rows(16), out=place / "run", test=rows(8, 100), model=str(model), workspace=place / "ws",
                       **{"base_bits": 4, "rank": 2, "steps": 3, "learning_rate": 1e-2, **options})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantized")


@pytest.fixture(scope="module")
def tuned(place: Path, causal_folder: Path) -> Outcome:
    return tune(place, causal_folder)


def test_what_four_bits_cost_is_measured_and_said(tuned: Outcome, place: Path) -> None:
    untouched, lora = tuned.rungs
    found = lora.quantization
    assert untouched.quantization is None and found.before == lora.retention.before
    assert found.before != found.after != lora.retention.after
    assert found.low <= found.change <= found.high
    (written,) = Ledger(place / "run" / "ledger.jsonl").read("quantized")
    assert (written["name"], written["before"], written["after"]) == ("lora", found.before, found.after)
    page = " ".join((place / "run" / "report.html").read_text().split())
    assert f"The base in four bits, before training: {found.measure} {found.after:.3f} instead of " in page
    assert lora.title.startswith("LoRA on 4-bit ") and any("over a base in four bits" in w for w in tuned.warnings)


def test_the_folder_says_its_base_and_predicts_over_it(tuned: Outcome, place: Path) -> None:
    folder = place / "run" / "model"
    assert json.loads((folder / "scrimp.json").read_text())["base"]["bits"] == 4
    card = (folder / "README.md").read_text()
    assert '"base_bits": 4' in card and "over a base in four bits" in card
    assert bits_of(load_predictor(folder)._loaded.model) == 4  # type: ignore[attr-defined]


def test_it_predicts_without_the_library_too_and_says_what_that_means(tuned: Outcome, place: Path, capsys,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    predictor = load_predictor(place / "run" / "model")
    assert bits_of(predictor._loaded.model) == 16  # type: ignore[attr-defined]
    assert "may say something else than what was scored" in " ".join(capsys.readouterr().err.split())
    assert len(predictor.predict(rows(3))) == 3


@pytest.mark.parametrize("bits", [8, "4", None])
def test_a_manifest_with_other_bits_is_refused(tuned: Outcome, place: Path, tmp_path: Path, bits: object) -> None:
    folder = Path(shutil.copytree(place / "run" / "model", tmp_path / "model"))
    told = json.loads((folder / "scrimp.json").read_text())
    told["base"]["bits"] = bits
    (folder / "scrimp.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="description is damaged"):
        load_predictor(folder)


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_exports_are_for_the_whole_base_and_say_so(tuned: Outcome, place: Path, causal_folder: Path, form: str,
                                                   capsys) -> None:
    out = place / form
    scrimp.export(place / "run", out=out, form=form)
    assert "over which nothing was scored" in " ".join(capsys.readouterr().err.split())
    assert "over a base in four bits" in (out / "README.md").read_text()
    whole = AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32)
    wanted = logits_of(PeftModel.from_pretrained(whole, place / "run" / "model"), PROBES)
    base = AutoModelForCausalLM.from_pretrained(causal_folder if form == "adapter" else out, dtype=torch.float32)
    exported = PeftModel.from_pretrained(base, out) if form == "adapter" else base
    torch.testing.assert_close(logits_of(exported, PROBES), wanted, atol=2e-2, rtol=0)


def test_the_recipe_that_is_left_gives_the_same_bits(tuned: Outcome, place: Path) -> None:
    (again,) = scrimp.run(place / "run" / "recipe.yaml", out=place / "again", workspace=place / "other")
    assert again.best.chosen["base_bits"] == 4 and again.best.quantization == tuned.best.quantization
    assert (place / "again" / "model" / "adapter_model.safetensors").read_bytes() \
        == (place / "run" / "model" / "adapter_model.safetensors").read_bytes()


def test_a_base_as_it_is_loaded_says_nothing_of_bits(tmp_path: Path, causal_folder: Path) -> None:
    plain = tune(tmp_path, causal_folder, base_bits=16)
    assert plain.best.quantization is None and not any("four bits" in warning for warning in plain.warnings)
    assert "base_bits" not in plain.best.chosen
    assert not Ledger(tmp_path / "run" / "ledger.jsonl").read("quantized")
    assert "four bits" not in (tmp_path / "run" / "report.html").read_text()


def test_without_the_library_it_ends_at_once_and_the_same_command_goes_on(tmp_path: Path, causal_folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bitsandbytes", None)
        with pytest.raises(OptionError, match="needs bitsandbytes") as refused:
            tune(tmp_path, causal_folder)
    assert "scrimp[quantized]" in refused.value.fix
    assert not (tmp_path / "run" / "model").exists()
    assert tune(tmp_path, causal_folder).best.quantization is not None


def test_an_encoder_s_cost_is_measured_as_its_agreement(tmp_path: Path, encoder_folder: Path) -> None:
    found = tune(tmp_path, encoder_folder, objective="classify").best.quantization
    assert found.higher_is_better and 0.5 < found.after < 1.0
