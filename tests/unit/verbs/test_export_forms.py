"""Forms of export for other runtimes: GGUF and ONNX, with the card and the proof, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

import scrimp
from scrimp.checkpoints import ggufwriting
from scrimp.core.errors import GuardError, ModelError, OptionError, WorkspaceError
from scrimp.serving import graphs


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    said = [("I loved it", "positive"), ("I hated it", "negative")]
    return [{"text": f"film {n} over the fox {n * 7 % 10}, {said[n % 2][0]}", "label": said[n % 2][1]}
            for n in range(24)]


@pytest.fixture(scope="module")
def tuned(rows: list[dict[str, str]], causal_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tuned a language model."""
    place = tmp_path_factory.mktemp("tuned")
    scrimp.tune(rows, out=place / "run", model=str(causal_folder), workspace=place / "ws", adapter="lora", rank=2,
                steps=2, learning_rate=1e-2)
    return place / "run"


@pytest.fixture(scope="module")
def fitted(rows: list[dict[str, str]], causal_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that found a way on an encoder, by the name of the way."""
    place = tmp_path_factory.mktemp("fitted")
    encoder = tiny.encoder(place / "encoder", layers=1, hidden=32)
    for way in ("frozen-features", "features-and-words"):
        scrimp.fit(rows, out=place / way, model=str(causal_folder), encoder=str(encoder), workspace=place / "ws",
                   rungs=way)
    return place


def test_gguf(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = scrimp.export(tuned, out=tmp_path / "out", form="gguf", weights="f16")
    (file,) = out.glob("*.gguf")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", file.name]
    assert file.name.endswith("-tuned-f16.gguf") and "read back: a logit differs by" in capsys.readouterr().err
    card = (out / "README.md").read_text()
    assert f'gguf_file="{file.name}"' in card and "PeftModel" not in card and "## Scores" in card
    assert card.count("## Loading it with plain libraries") == 1


def test_onnx(fitted: Path, rows: list[dict[str, str]], tmp_path: Path) -> None:
    """The card's own code, in the exported folder, says what the run's predictor says."""
    out = scrimp.export(fitted / "frozen-features", out=tmp_path / "out", form="onnx")
    assert {"model.onnx", "labels.json", "tokenizer.json", "README.md"} <= {path.name for path in out.iterdir()}
    card = (out / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace('["A text.", "Another one."]', "texts")
    texts, wanted = [row["text"] for row in rows], scrimp.predict(fitted / "frozen-features", rows)
    said: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        exec(code, {"texts": texts, "print": said.append})
    assert said == [[line["label"] for line in wanted]]
    assert json.loads((out / "labels.json").read_text())["labels"] == ["negative", "positive"]


def test_what_cannot_be_onnx_says_what_can(tuned: Path, fitted: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="label-scorer is no classifier on an encoder") as caught:
        scrimp.export(tuned, out=tmp_path / "a", form="onnx")
    assert "adapter, merged or gguf" in str(caught.value.fix)
    with pytest.raises(ModelError, match="joined-head is not written") as caught:
        scrimp.export(fitted / "features-and-words", out=tmp_path / "a", form="onnx")
    assert "rungs: frozen-features, or with rungs: tuned-encoder" in str(caught.value.fix)
    for form in ("adapter", "merged", "gguf"):
        with pytest.raises(ModelError, match="tuned no model"):
            scrimp.export(fitted / "frozen-features", out=tmp_path / "a", form=form)
    assert not list(tmp_path.iterdir())


def test_a_failed_proof_leaves_nothing(tuned: Path, fitted: Path, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggufwriting, "TOLERANCE", dict.fromkeys(ggufwriting.TOLERANCE, -1.0))
    with pytest.raises(GuardError, match="not the one that was evaluated"):
        scrimp.export(tuned, out=tmp_path / "a", form="gguf")
    monkeypatch.setattr(graphs, "save_onnx", lambda predictor, folder: (folder / "labels.json").write_text("[]"))
    with pytest.raises(ModelError):
        scrimp.export(fitted / "frozen-features", out=tmp_path / "a", form="onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("form", "weights"), [("adapter", "f16"), ("merged", "q8_0"), ("onnx", "f32")])
def test_a_form_is_not_written_with_any_type_of_weights(tmp_path: Path, form: str, weights: str) -> None:
    with pytest.raises(OptionError, match=f"'{form}' is not written with {weights}"):
        scrimp.export(tmp_path, out=tmp_path / "out", form=form, weights=weights)


@pytest.mark.parametrize(("weights", "stored"), [("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16")])
def test_a_merged_model_has_the_type_of_weights_that_was_asked_for(tuned: Path, tmp_path: Path, weights: str,
                                                                   stored: str) -> None:
    from safetensors import safe_open

    out = scrimp.export(tuned, out=tmp_path / "out", form="merged", weights=weights)
    assert json.loads((out / "config.json").read_text())["dtype"] == stored
    with safe_open(out / "model.safetensors", "pt") as file:
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} == {f"torch.{stored}"}  # noqa: SIM118


def test_a_merge_that_rounding_changes_too_much_says_how_it_does_not(tuned: Path, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    from scrimp.checkpoints import exporting

    monkeypatch.setitem(exporting.TOLERANCE, exporting.DTYPES["bf16"], 1e-6)
    with pytest.raises(GuardError, match="--weights f32"):
        scrimp.export(tuned, out=tmp_path / "out", form="merged", weights="bf16")
    assert not list(tmp_path.iterdir())
    scrimp.export(tuned, out=tmp_path / "out", form="merged", weights="f32")


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no folder of a finished run"):
        scrimp.export(tmp_path / "nowhere", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
