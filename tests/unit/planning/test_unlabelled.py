import json
import random

import numpy as np
import pytest
import yaml

import scrimp
from scrimp.core.errors import DataError, OptionError
from scrimp.evaluation.outcome import Outcome
from scrimp.examples.formats import read
from scrimp.planning.unlabelled import gather_pool, most_telling, surest

WORDS = {"sea": "waves salt harbour anchor gull", "wood": "oak moss fern bark owl"}


class Request:
    columns, on_bad_row = None, "fail"

    def __init__(self, unlabelled):
        self.unlabelled = unlabelled


def text(label, number):
    draw = random.Random(number)
    told = draw.sample(WORDS[label].split(), 3) + ["".join(draw.choices("abcdefghij", k=6)) for _ in range(6)]
    return " ".join(draw.sample(told, len(told)))


def labelled(count, start=0):
    return [{"text": text(label, n), "label": label}
            for n in range(start, start + count) for label in [list(WORDS)[n % 2]]]


def without_labels(count, start=1000):
    return [{"text": row["text"]} for row in labelled(count, start)]


@pytest.fixture
def fit(tmp_path, encoder_folder):
    def run(data, into="run", **options):
        given = {"rungs": ["word-counts", "frozen-features", "self-training"], **options}
        return scrimp.fit(data, out=tmp_path / into, workspace=tmp_path / "space", encoder=str(encoder_folder), **given)

    return run


def test_rows_that_are_known_are_none_without_labels():
    train, test = read(labelled(6)), read(labelled(6, 100))
    given = [{"text": train[1]["text"].upper()}, {"text": test[2]["text"]}, {"text": "new"}, {"text": " New "},
             {"text": "newer"}]
    assert [row["text"] for row in gather_pool(Request(given), train, test)] == ["new", "newer"]
    assert gather_pool(Request(None), train, test) is None
    with pytest.raises(DataError, match="all rows without labels stand among"):
        gather_pool(Request(given[:2]), train, test)


def test_only_labels_are_guessed():
    scores = read([{"text": f"row {n}", "score": float(n)} for n in range(9)], find_scores=True)
    with pytest.raises(OptionError, match="can be of no use"):
        gather_pool(Request([{"text": "a"}]), scores, None)


def test_of_each_label_the_surest_rows_are_taught():
    chances = [0.9, 0.8, 0.7, 0.6, 0.55, 0.1]  # of the first label
    said = [{"scores": {"a": chance, "b": 1 - chance}} for chance in chances]
    assert surest(said, ["a", "b"]) == [0, 1, 5]


def test_the_least_decided_rows_are_asked_for_in_balance():
    given = np.array([[0.98, 0.02], [0.52, 0.48], [0.51, 0.49], [0.53, 0.47], [0.4, 0.6], [0.01, 0.99]])
    assert most_telling(given, [5, 5], 2) == [2, 4]
    assert most_telling(given, [9, 1], 1) == [4]
    assert most_telling(given, [5, 5], 50)[-1] in (0, 5)


def test_a_fit_learns_from_rows_without_labels_and_asks_for_some(fit, tmp_path):
    outcome = fit(labelled(40), test=labelled(16, 200), unlabelled=without_labels(150))
    assert [rung.name for rung in outcome.rungs] == ["word-counts", "frozen-features", "self-training"]
    assert all(rung.skipped is None for rung in outcome.rungs)
    assert outcome.review.asked == 150
    lines = [json.loads(line) for line in (tmp_path / "run" / "label-next.jsonl").read_text().splitlines()]
    assert len({line["text"] for line in lines}) == 100
    assert {line["text"] for line in lines} <= {row["text"] for row in without_labels(150)}
    assert [line["source"] for line in lines[:50]] == [row.source for row in outcome.review.next]
    assert all(line["said"] == max(line["scores"], key=line["scores"].get) for line in lines)
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert len((tmp_path / "run" / recipe["data"]["unlabelled"]).read_text().splitlines()) == 150
    assert "label-next.jsonl" in (tmp_path / "run" / "report.html").read_text()


def test_other_rows_without_labels_make_another_run(fit, tmp_path):
    first = fit(labelled(20), unlabelled=without_labels(30))
    assert first == Outcome.load(tmp_path / "run" / "scores.json")
    assert fit(labelled(20), unlabelled=without_labels(30), into="again").inputs == first.inputs
    assert fit(labelled(20), unlabelled=without_labels(30, 5000), into="other").inputs != first.inputs
    fit(labelled(20), force=True, rungs=["word-counts"])
    assert not (tmp_path / "run" / "label-next.jsonl").exists()


def test_self_training_is_no_way_without_such_rows(fit):
    with pytest.raises(OptionError, match="self-training"):
        fit(labelled(20), rungs=["self-training"])


def test_labels_that_were_swapped_are_listed_first(fit):
    rows = labelled(120)
    swapped = (17, 40, 93)
    for place in swapped:
        rows[place]["label"] = next(label for label in WORDS if label != rows[place]["label"])
    outcome = fit(rows, rungs=["word-counts"])
    assert {row.text for row in outcome.review.doubtful} == {rows[place]["text"] for place in swapped}
    assert {row.label for row in outcome.review.doubtful} <= set(WORDS)


def test_a_way_that_is_no_better_than_chance_doubts_no_label(fit):
    rows = [{"text": f"{n * 7919 % 1000} and {n * 104729 % 997}", "label": list(WORDS)[n * n % 7 % 2]}
            for n in range(60)]
    assert fit(rows, rungs=["word-counts"]).review.doubtful == ()


def test_rows_that_contradict_each_other_are_listed_first(fit):
    rows = labelled(20)
    rows += [{**rows[3]}, {**rows[8], "label": "sea" if rows[8]["label"] == "wood" else "wood"}]
    found = fit(rows, rungs=["word-counts"]).review.repeats
    assert [(len(group.sources), group.text) for group in found] == [(2, rows[8]["text"]), (2, rows[3]["text"])]
    assert found[0].labels == ("sea", "wood")
    assert found[1].labels == ()
