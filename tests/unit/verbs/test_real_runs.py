"""The verbs for real, on tiny random models, and the recipe that they leave."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import scrimp
from scrimp.core.errors import DataError, ModelError, WorkspaceError
from scrimp.evaluation.outcome import Outcome


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    """Reviews that a few words tell."""
    said = [("I loved it", "positive"), ("I hated it", "negative")]
    return [{"text": f"film {n} over the fox {n * 7 % 10}, {said[n % 2][0]}", "label": said[n % 2][1]}
            for n in range(start, start + count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, made in (("train", rows(24)), ("test", rows(12, 100))):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, made)))
    return folder


@pytest.fixture(scope="module")
def tuned(place: Path, causal_folder: Path) -> Outcome:
    return scrimp.tune(place / "train.jsonl", out=place / "tuned", test=place / "test.jsonl", model=str(causal_folder),
                       workspace=place / "ws", adapter="lora", rank=2, steps=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def fitted(place: Path, causal_folder: Path, encoder_folder: Path) -> Outcome:
    return scrimp.fit(place / "train.jsonl", out=place / "fitted", test=place / "test.jsonl", model=str(causal_folder),
                      encoder=str(encoder_folder), budget="5m", workspace=place / "ws",
                      rungs="untouched,word-counts")


def test_a_run_leaves_everything(tuned: Outcome, fitted: Outcome, place: Path) -> None:
    assert tuned.winner == "lora"
    assert fitted.winner == "word-counts"
    for folder in ("tuned", "fitted"):
        assert sorted(path.name for path in (place / folder).iterdir()) == [
            "ledger.jsonl", "model", "recipe.yaml", "report.html", "scores.json"]


@pytest.mark.parametrize("run", ["tuned", "fitted"])
def test_predictions_are_one_a_row_in_order(tuned: Outcome, fitted: Outcome, place: Path, run: str) -> None:
    lines = scrimp.predict(place / run, place / "test.jsonl", out=place / "p.jsonl")
    assert [json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()] == lines
    assert [line["row"] for line in lines] == list(range(12))
    assert all(set(line["scores"]) == {"negative", "positive"} for line in lines)
    assert scrimp.predict(place / run, [{"text": row["text"]} for row in rows(12, 100)]) == lines
    (score,) = scrimp.evaluate(place / run, place / "test.jsonl", metrics="accuracy")
    right = sum(line["label"] == row["label"] for line, row in zip(lines, rows(12, 100), strict=True))
    assert (score.n, score.value) == (12, right / 12)


def test_rows_that_cannot_be_predicted_are_refused_or_left_out(fitted: Outcome, place: Path) -> None:
    bad = place / "bad.jsonl"
    bad.write_text('{"text": "a film"}\n{"text": \n{"text": "the fox"}\n')
    with pytest.raises(DataError, match=r"bad.jsonl:2"):
        scrimp.predict(place / "fitted", bad, out=place / "never.jsonl")
    assert not (place / "never.jsonl").exists()
    kept = scrimp.predict(place / "fitted", bad, on_bad_row="skip")
    assert [(line["row"], line["source"]) for line in kept] == [(0, "bad.jsonl:1"), (1, "bad.jsonl:3")]


def test_the_recipe_that_is_left_gives_the_same_model(tuned: Outcome, place: Path) -> None:
    (again,) = scrimp.run(place / "tuned" / "recipe.yaml", out=place / "again", workspace=place / "other")
    assert again.best.chosen == tuned.best.chosen
    for name in ("adapter_model.safetensors", "scrimp.json"):
        assert (place / "again" / "model" / name).read_bytes() == (place / "tuned" / "model" / name).read_bytes()


def test_exports_load_where_scrimp_is_not(tuned: Outcome, place: Path, causal_folder: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = scrimp.export(place / "tuned", out=place / "adapter")
    merged = scrimp.export(place / "tuned", out=place / "merged", form="merged")
    ids = torch.arange(20)[None]
    base = AutoModelForCausalLM.from_pretrained(causal_folder)
    with torch.no_grad():
        untouched = base(ids).logits
        one = PeftModel.from_pretrained(base, adapter)(ids).logits
        other = AutoModelForCausalLM.from_pretrained(merged)(ids).logits
    assert (one - untouched).abs().max() > 1e-3
    assert (one - other.float()).abs().max() < 0.1 * (one - untouched).abs().max()
    assert (adapter / "README.md").read_text()
    with pytest.raises(WorkspaceError, match="not empty"):
        scrimp.export(place / "tuned", out=place)


def test_a_run_on_another_base_is_neither_exported_nor_served(tuned: Outcome, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "tuned", tmp_path / "run")
    manifest = tmp_path / "run" / "model" / "scrimp.json"
    told = json.loads(manifest.read_text())
    told["base"]["fingerprint"] = "0" * 64
    manifest.write_text(json.dumps(told))
    for ask in (lambda: scrimp.export(tmp_path / "run", out=tmp_path / "out"),
                lambda: scrimp.predict(tmp_path / "run", [{"text": "a"}])):
        with pytest.raises(ModelError, match="another one than the one it was tuned on") as caught:
            ask()
        assert "not 000000000000" in caught.value.why
    assert not (tmp_path / "out").exists()


def test_what_tuned_no_model_is_not_exported(fitted: Outcome, place: Path) -> None:
    with pytest.raises(ModelError, match="tuned no model"):
        scrimp.export(place / "fitted", out=place / "nothing")
    assert not (place / "nothing").exists()


def test_inspection_shows_what_is_trained(place: Path, causal_folder: Path) -> None:
    found = scrimp.inspect(place / "train.jsonl", model=str(causal_folder), rows=2)
    assert found.rows_in_all == 24
    assert len(found.rows) == 2
    trained = "".join(token for token, is_trained in zip(found.rows[0].tokens, found.rows[0].trained, strict=True)
                      if is_trained)
    assert trained.strip() == "positive"
    assert 0 < found.trained_tokens < found.tokens
