"""Domains in what is run: named by a column for `tune`, and brought into proportion by a step of a recipe."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import scrimp
from scrimp.cli.app import main
from scrimp.core.errors import DataError
from scrimp.data.mixing import Mixture


def rows(kinds: str, start: int = 0) -> list[dict[str, str]]:
    """Reviews, each of which tells its own domain."""
    names = {"f": "film", "q": "question"}
    return [{"text": f"the {names[kind]} number {n}", "label": ("positive", "negative")[n % 2], "kind": names[kind]}
            for n, kind in enumerate(kinds, start)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCRIMP_WORKSPACE", str(tmp_path / "space"))
    for name, made in (("train", rows("ffffffqq" * 3)), ("test", rows("fq" * 4, 100)), ("films", rows("f" * 12)),
                       ("questions", rows("q" * 4, 50))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return tmp_path


def test_a_column_names_the_domains_of_what_is_learned(place: Path, causal_folder: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    fed, feed = [], Mixture.feed
    monkeypatch.setattr(Mixture, "feed", lambda self, rows, **given: (
        fed.append((self.domains, rows)), feed(self, rows, **given))[1])
    assert main(["tune", str(place / "train.jsonl"), "--test", str(place / "test.jsonl"), "--model", str(causal_folder),
                 "--out", str(place / "run"), "--sampling", "mixture", "--domain", "kind", "--mixing", "skill-it",
                 "--probes", "2", "--steps", "4", "--batch-size", "4", "--validate-every", "2"]) == 0
    tokenizer = AutoTokenizer.from_pretrained(causal_folder)
    (domains, learned), = fed
    assert Counter(domains).keys() == {"film", "question"} and len(domains) < 24  # a fifth says when to stop
    assert all(f"the {domains[row.row]} " in tokenizer.decode(row.ids) for row in learned)
    assert "domain: kind" in (place / "run" / "recipe.yaml").read_text()


def test_other_domains_of_the_same_rows_make_another_run(place: Path, causal_folder: Path) -> None:
    asked = {"test": place / "test.jsonl", "out": place / "run", "model": str(causal_folder), "steps": 2, "force": True,
             "sampling": "mixture", "domain": "kind", "mixing": "uniform", "batch_size": 4}
    first = scrimp.tune(place / "train.jsonl", **asked)
    again = scrimp.tune(place / "train.jsonl", **asked)
    turned = [{**row, "kind": "film" if row["kind"] == "question" else "question"} for row in rows("ffffffqq" * 3)]
    assert first.inputs == again.inputs != scrimp.tune(turned, **asked).inputs


def test_a_column_that_is_not_there_is_told(place: Path, causal_folder: Path) -> None:
    with pytest.raises(DataError, match=r"there is no column 'knid'; did you mean 'kind'") as caught:
        scrimp.tune(place / "train.jsonl", out=place / "run", model=str(causal_folder), test=place / "test.jsonl",
                    sampling="mixture", domain="knid", steps=2)
    assert "train.jsonl:1" in str(caught.value.where)


@pytest.mark.parametrize(("train", "domain"), [
    ("{asked: films.jsonl, told: questions.jsonl}", ""), ("train.jsonl", ", domain: kind")])
def test_a_step_of_a_recipe_mixes_what_the_next_one_learns(place: Path, causal_folder: Path, train: str,
                                                           domain: str) -> None:
    (place / "recipe.yaml").write_text(
        f"model: {causal_folder}\ndata: {{train: {train}, test: test.jsonl, columns: {{text: text, label: label}}}}\n"
        f"steps:\n  - mix: {{method: uniform, size: 16{domain}}}\n  - tune: {{steps: 2, batch_size: 4}}\n")
    (found,) = scrimp.run(place / "recipe.yaml")
    mixed = [json.loads(line) for line in (place / "recipe.mixed.jsonl").read_text().splitlines()]
    assert Counter(row["kind"] for row in mixed) == {"film": 8, "question": 8}
    assert found.data.train_rows + found.data.leaked == 16


def test_rows_may_be_selected_before_they_are_mixed(place: Path, causal_folder: Path) -> None:
    (place / "recipe.yaml").write_text(
        f"model: {causal_folder}\ndata: {{train: train.jsonl, test: test.jsonl}}\nsteps:\n"
        "  - select: {method: random, keep: 12}\n  - mix: {method: uniform, size: 8, domain: kind}\n"
        "  - tune: {steps: 2, batch_size: 4}\n")
    scrimp.run(place / "recipe.yaml")
    selected, mixed = ([json.loads(line) for line in (place / f"recipe.{name}.jsonl").read_text().splitlines()]
                       for name in ("selected", "mixed"))
    assert {row["text"] for row in mixed} <= {row["text"] for row in selected} and len(selected) == 12
    assert Counter(row["kind"] for row in mixed) == {"film": 4, "question": 4}
