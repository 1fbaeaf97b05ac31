"""`deduplicate` and `decontaminate`: what is left out, what is said of it, and what stays as it was."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import scrimp
from scrimp.cli.app import main
from scrimp.core.errors import OptionError
from scrimp.verbs.sift import LeftOut

LONG = "the committee met on a rainy Thursday to discuss the budget of the village library and its leaking roof"
POOL = [("Good film", "positive", "1"), (LONG, "negative", "2"), ("good   FILM", "positive", "3"),
        (LONG.replace("rainy", "sunny"), "negative", "4"), ("Something else entirely", "positive", "5")]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label", "id"), *POOL])
    return path


def ids(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(("near", "kept"), [(0.8, ["1", "2", "5"]), (None, ["1", "2", "4", "5"])])
def test_each_row_is_kept_once_with_all_its_fields(near: float | None, kept: list[str], pool: Path,
                                                   tmp_path: Path) -> None:
    found = scrimp.deduplicate(pool, near=near, out=tmp_path / "once.csv")
    assert ids(tmp_path / "once.csv") == kept and (found.kept, found.of) == (len(kept), 5)
    assert found.left_out[0] == LeftOut(source="pool.csv:4", like="pool.csv:2", exact=True)
    assert found.left_out[1:] == ((LeftOut(source="pool.csv:5", like="pool.csv:3", exact=False),) if near else ())


def test_rows_of_the_test_are_left_out(pool: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"text": LONG.replace("rainy", "snowy")}) + "\n"
                    + json.dumps({"text": "something ELSE entirely"}) + "\n")
    found = scrimp.decontaminate(pool, test=test, out=tmp_path / "clean.jsonl")
    assert [json.loads(line)["id"] for line in (tmp_path / "clean.jsonl").read_text().splitlines()] == ["1", "3"]
    assert [(one.source, one.like, one.exact) for one in found.left_out] == [
        ("pool.csv:3", "test.jsonl:1", False), ("pool.csv:5", "test.jsonl:1", False),
        ("pool.csv:6", "test.jsonl:2", True)]


def test_the_command_line_does_and_says_the_same(pool: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deduplicate", str(pool), "--near", "none", "--out", str(tmp_path / "once.csv")]) == 0
    said = capsys.readouterr().out
    assert "pool.csv:4 is pool.csv:2" in said and "left out: 1 exact, 0 near" in said
    assert main(["deduplicate", str(pool), "--out", str(tmp_path / "once.csv")]) == 0
    assert "pool.csv:5 is nearly pool.csv:3" in capsys.readouterr().out


def test_labels_that_contradict_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "good", "label": "a"}, {"text": "good", "label": "b"}, {"text": "bad", "label": "b"}]
    found = scrimp.deduplicate(rows, out=tmp_path / "once.jsonl")
    assert found.kept == 2 and "stand with several labels" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "message"), [({"near": 0.3}, "told from 0.6 to 1"),
                                                  ({"out": "once.docx"}, "'.docx' are not written")])
def test_mistakes_are_told_and_nothing_is_written(options: dict[str, object], message: str, pool: Path,
                                                  tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    asked = {"out": "once.csv", **options}
    with pytest.raises(OptionError, match=message):
        scrimp.deduplicate(pool, **{**asked, "out": tmp_path / str(asked["out"])})
    assert set(tmp_path.iterdir()) == before
