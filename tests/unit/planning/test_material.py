import json
from types import SimpleNamespace

import pytest

from scrimp.core.errors import DataError
from scrimp.planning.material import gather

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "red", "green", "blue", "brown",
         "black", "white", "small", "large", "old", "new"]


def text(i: int) -> str:
    """A sentence of its own for every number."""
    return " ".join(WORDS[(i * k + k * k) % len(WORDS)] for k in range(1, 9)) + f" {i * 7919}"


def request(tmp_path, train, test=None, **more):
    def write(name, rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    given = {"unlabelled": None, "layout": None, "columns": None, "on_bad_row": "fail", "seed": 0, **more}
    return SimpleNamespace(data=write("train.jsonl", train),
                           test=write("test.jsonl", test) if test is not None else None, **given)


def labelled(*numbers):
    return [{"text": text(i), "label": "ab"[i % 2]} for i in numbers]


def test_planted_leaks_are_taken_out_and_said(tmp_path):
    near = {"text": text(3) + " indeed", "label": "b"}
    found = gather(request(tmp_path, labelled(*range(20)), [*labelled(30, 31, 4), near]))
    assert found.leaked == 2
    assert {row["text"] for row in found.train.rows}.isdisjoint({text(3), text(4)})
    assert any("stand in the test set" in warning for warning in found.warnings)


def test_a_training_set_that_is_the_test_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="every training row"):
        gather(request(tmp_path, labelled(*range(10)), labelled(*range(10))))


def test_test_labels_that_nothing_teaches_are_refused(tmp_path):
    with pytest.raises(DataError, match="labels that no training row has: c"):
        gather(request(tmp_path, labelled(*range(10)), [{"text": text(77), "label": "c"}]))


def test_one_label_alone_teaches_nothing(tmp_path):
    with pytest.raises(DataError, match="all training rows have the label 'a'"):
        gather(request(tmp_path, labelled(0, 2, 4, 6), labelled(1, 8), layout="label"))


def test_one_score_alone_teaches_nothing(tmp_path):
    rows = [{"text": text(i), "score": 2.5} for i in range(8)]
    with pytest.raises(DataError, match=r"all training rows have the score '2\.5'"):
        gather(request(tmp_path, rows))


def test_scores_are_found_their_leaks_taken_out_and_their_conflicts_said(tmp_path):
    rows = [{"text": text(i), "score": i / 4} for i in range(20)]
    found = gather(request(tmp_path, [*rows, {"text": text(5), "score": 99.5}], [{"text": text(3), "score": 1.0},
                                                                                {"text": text(77), "score": -3.5}]))
    assert (found.train.layout, len(found.train), found.leaked) == ("score", 20, 1)
    assert any("1 texts stand with different scores, such as" in warning for warning in found.warnings)


def test_rows_are_held_out_only_where_there_are_enough(tmp_path):
    few, many = gather(request(tmp_path, labelled(*range(50)))), gather(request(tmp_path, labelled(*range(400))))
    assert few.test is None
    assert "too few rows" in few.test_origin
    assert 60 <= len(many.test) <= 100
    assert len(many.train) + len(many.test) == 400


def test_repeats_and_contradictions_are_said(tmp_path):
    torn = {"text": text(5), "label": "a"}
    found = gather(request(tmp_path, [*labelled(*range(12)), *labelled(2), torn]))
    assert found.duplicates == 2
    assert any("different labels" in warning for warning in found.warnings)
