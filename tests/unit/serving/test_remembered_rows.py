"""Rows that are found again by their words, and shown to a model before it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import DataError, ModelError
from scrimp.examples.formats import read
from scrimp.examples.templates import Template
from scrimp.serving.base import MANIFEST
from scrimp.serving.language import Generator, LabelScorer
from scrimp.serving.memory import Memory
from scrimp.serving.predictors import load_predictor

ROWS = read([{"text": "a red apple", "label": "fruit"}, {"text": "a red car", "label": "thing"},
             {"text": "two green pears", "label": "fruit"}])


def test_the_most_similar_rows_are_found_and_the_most_similar_stands_last() -> None:
    memory = Memory.of(ROWS)
    assert memory.nearest(["red apple", "green"], 2) == [
        [("a red car", "thing"), ("a red apple", "fruit")], [("a red car", "thing"), ("two green pears", "fruit")]]
    assert [len(found) for found in memory.nearest(["red"], 9)] == [3]
    assert memory.nearest([]) == []


def test_a_memory_survives_being_written(tmp_path: Path) -> None:
    Memory.of(ROWS).write(tmp_path)
    assert Memory.read(tmp_path).nearest(["pears"], 2) == Memory.of(ROWS).nearest(["pears"], 2)
    told = json.loads((tmp_path / "answers.json").read_text())
    (tmp_path / "answers.json").write_text(json.dumps({**told, "answers": told["answers"][:2]}))
    with pytest.raises(ModelError, match="3 inputs have 2 answers"):
        Memory.read(tmp_path)


@pytest.fixture
def scorer(causal_folder: Path) -> LabelScorer:
    loaded = load(resolve(str(causal_folder)), dtype="float32")
    return LabelScorer(loaded, Template.for_(loaded.tokenizer, ROWS), memory=Memory.of(ROWS), shown=2)


def test_what_is_shown_stands_before_the_question_and_changes_the_answer(scorer: LabelScorer) -> None:
    loaded: Any = scorer.loaded
    (prompt,) = scorer.prompts([{"text": "a red apple"}])
    text = loaded.tokenizer.decode(prompt, skip_special_tokens=True)
    assert " ".join(text.split()) == ("Text: a red car Label: thing Text: a red apple Label: fruit "
                                      "Text: a red apple Label:")
    bare = LabelScorer(loaded, scorer.template)
    row = [{"text": "a red apple"}]
    assert scorer.predict(row)[0]["scores"] != bare.predict(row)[0]["scores"]


def test_as_many_rows_are_shown_as_the_model_has_positions_for(scorer: LabelScorer, monkeypatch: Any) -> None:
    loaded: Any = scorer.loaded
    row = {"text": "red"}
    whole, bare = scorer.prompts([row])[0], LabelScorer(loaded, scorer.template).prompts([row])[0]
    config = SimpleNamespace(max_position_embeddings=len(whole) + scorer.template.max_tokens)
    monkeypatch.setattr(loaded.model, "config", config)
    assert scorer.prompts([row]) == [whole]
    config.max_position_embeddings -= 1
    (shorter,) = scorer.prompts([row])
    assert len(bare) < len(shorter) < len(whole) and shorter[-len(bare) + 1:] == whole[-len(bare) + 1:]
    config.max_position_embeddings = 1
    assert scorer.prompts([row]) == [bare]


@pytest.mark.parametrize("shown", [0, -1, True, "2", 1.5, 10**6])
def test_a_number_of_rows_that_cannot_be_shown_is_refused(scorer: LabelScorer, tmp_path: Path, shown: Any) -> None:
    scorer.save(tmp_path / "model")
    path = tmp_path / "model" / MANIFEST
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "settings": {**told["settings"], "shown": shown}}))
    with pytest.raises(ModelError, match="rows cannot be shown"):
        load_predictor(tmp_path / "model")


def test_nothing_is_shown_before_a_chat(causal_folder: Path) -> None:
    loaded = load(resolve(str(causal_folder)), dtype="float32")
    chats = read([{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}])
    with pytest.raises(DataError, match="no rows are shown before"):
        Generator(loaded, Template.for_(loaded.tokenizer, chats), memory=Memory.of(chats))
