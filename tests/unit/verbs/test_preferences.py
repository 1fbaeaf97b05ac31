"""From a file of preferences to a folder that prefers, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import scrimp
from scrimp.core.errors import DataError
from scrimp.evaluation.outcome import Outcome


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"prompt": f"what about film {n}?", "chosen": f"what a good film {n}, I loved it",
             "rejected": f"what a bad film {n}, I hated it"} for n in range(start, start + count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    for name, made in (("train", rows(24)), ("test", rows(8, 100))):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, made)))
    return folder


@pytest.fixture(scope="module")
def tuned(place: Path, causal_folder: Path) -> Outcome:
    return scrimp.tune(place / "train.jsonl", out=place / "run", test=place / "test.jsonl", model=str(causal_folder),
                       workspace=place / "ws", objective="dpo", steps=12, learning_rate=1e-2)


def test_the_tuned_model_prefers_what_was_chosen(tuned: Outcome) -> None:
    untouched, lora = tuned.rungs
    assert lora.test[0].metric == "preference-accuracy"
    assert lora.test[0].value == 1.0 > untouched.test[0].value
    assert tuned.data.layout == "preference"
    assert lora.chosen["objective"] == "dpo"


def test_its_folder_measures_pairs_and_answers_prompts(tuned: Outcome, place: Path) -> None:
    (score,) = scrimp.evaluate(place / "run", place / "test.jsonl")
    assert score.value == tuned.best.test[0].value
    (pair,) = scrimp.predict(place / "run", rows(1, 100))
    assert 0 > pair["chosen"] > pair["rejected"]
    (answer,) = scrimp.predict(place / "run", [{"prompt": "what about film 3?"}])
    assert isinstance(answer["text"], str)


def test_the_recipe_that_is_left_gives_the_same_model(tuned: Outcome, place: Path) -> None:
    scrimp.run(place / "run" / "recipe.yaml", out=place / "again", workspace=place / "other")
    name = "model/adapter_model.safetensors"
    assert (place / "again" / name).read_bytes() == (place / "run" / name).read_bytes()


def test_other_rows_are_refused_before_anything_is_trained(place: Path, causal_folder: Path) -> None:
    with pytest.raises(DataError, match="'dpo' learns from pairs"):
        scrimp.tune([{"prompt": str(n), "completion": "a"} for n in range(8)], out=place / "none", objective="dpo",
                    model=str(causal_folder), workspace=place / "ws", steps=1)


def test_stopping_early_goes_by_pairs_held_out(place: Path, causal_folder: Path) -> None:
    found = scrimp.tune(place / "train.jsonl", out=place / "early", model=str(causal_folder), workspace=place / "ws",
                        objective="orpo", steps=6, validate_every=2, learning_rate=1e-2)
    assert [p.step for p in found.best.curve if p.validation is not None] == [2, 4, 6]


def test_a_rationale_is_learned_beside_the_answer(place: Path, causal_folder: Path) -> None:
    worked = [{"prompt": f"{n} + 1", "completion": str(n + 1), "rationale": f"one after {n} is {n + 1}"}
              for n in range(20)]
    found = scrimp.tune(worked, out=place / "worked", model=str(causal_folder), workspace=place / "ws", steps=3,
                        objective="rationale")
    assert found.best.chosen["objective"] == "rationale"
    (answer,) = scrimp.predict(place / "worked", [{"prompt": "3 + 1"}])
    assert isinstance(answer["text"], str)
