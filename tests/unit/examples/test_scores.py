"""Texts with numbers: when they are found, how they are read, and how they are parted."""

import numpy as np
import pytest

from scrimp.core.errors import DataError, OptionError
from scrimp.examples import leakage, splits
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Template

SPREAD = [round(0.37 * n, 2) for n in range(12)]


def scored(values, text="text", score="score"):
    return [{text: f"text {n}", score: value} for n, value in enumerate(values)]


def examples(scores):
    rows = [{"text": f"text {n}", "score": float(score)} for n, score in enumerate(scores)]
    return Examples(tuple(rows), Layout.SCORE, tuple(f"rows:{n}" for n in range(len(rows))))


@pytest.mark.parametrize("name", ["score", "Rating", "stars", "value", "y", "target", "label"])
def test_a_text_and_a_number_are_a_score(name):
    found = read(scored(SPREAD, score=name), find_scores=True)
    assert found.layout is Layout.SCORE
    assert [row["score"] for row in found] == SPREAD
    assert "numbers that are no classes" in found.layout_reason
    assert found.labels == ()


def test_any_name_of_the_text_will_do_beside_a_score():
    assert read(scored(SPREAD, text="what they said"), find_scores=True)[0] == {"text": "text 0", "score": 0.0}


def test_numbers_written_as_text_are_a_score(tmp_path):
    (tmp_path / "rows.csv").write_text("text,score\na,1.5\nb, -2e1 \nc,+.25\nd,7\n")
    assert [row["score"] for row in read(tmp_path / "rows.csv", find_scores=True)] == [1.5, -20.0, 0.25, 7.0]


@pytest.mark.parametrize(("name", "values", "layout"), [
    ("label", [0, 1] * 6, Layout.LABEL), ("label", [1, 2, 3, 4, 5] * 4, Layout.LABEL),
    ("label", ["0", "1"] * 6, Layout.LABEL), ("label", list(range(100, 112)), Layout.LABEL),
    ("target", ["1.5", "2.0"] * 6, Layout.LABEL), ("class", [f"{n}" for n in range(150)], Layout.LABEL),
    ("score", [1, 2, 3, 4, 5] * 4, Layout.TEXT), ("rating", ["good", "bad"] * 6, Layout.TEXT),
    ("remark", SPREAD, Layout.TEXT)])
def test_what_was_read_otherwise_still_is(name, values, layout):
    for asked in (True, False):
        assert read(scored(values, score=name), find_scores=asked).layout is layout


def test_other_layouts_beside_a_number_stay_what_they_are():
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert read([{"messages": talk, "score": score} for score in SPREAD], find_scores=True).layout is Layout.CHAT


def test_a_row_that_lacks_its_score_is_an_error_and_the_order_of_fields_says_nothing():
    rows = [*scored(SPREAD), {"score": 2.5, "text": "turned"}, {"text": "alone"}]
    with pytest.raises(DataError, match="'score' is missing"):
        read(rows, find_scores=True)
    assert read(rows[:-1], find_scores=True)[12] == {"text": "turned", "score": 2.5}


def test_labels_that_are_numbers_without_end_are_scores():
    assert read(scored(map(str, SPREAD), score="label"), find_scores=True).layout is Layout.SCORE


def test_documents_with_a_number_stay_documents_unless_scores_are_looked_for():
    assert read(scored(SPREAD)).layout is Layout.TEXT
    three = [{**row, "id": n} for n, row in enumerate(scored(SPREAD))]
    found = read(three, find_scores=True)
    assert found.layout is Layout.TEXT
    assert "to learn the numbers of 'score', name the layout 'score'" in found.notes[0]
    assert read(three, find_scores=True, layout="score").layout is Layout.SCORE
    assert read(three, columns={"text": "text", "score": "id"})[3]["score"] == 3.0


def test_few_whole_numbers_are_scores_if_that_is_asked_for():
    assert read(scored([1, 2, 3, 4, 5] * 4, score="label"), layout="score")[4]["score"] == 5.0


@pytest.mark.parametrize(("value", "said"), [
    ("n/a", "is 'n/a'; a score is a finite number"), ("nan", "'nan'"), ("1_000", "'1_000'"), ("3,5", "'3,5'"),
    ("inf", "'inf'"), (True, "true or false"), (None, "is missing"), ("", "is missing"), ([1.0], "a list"),
    (1e101, "larger than 1e+100"), (10**400, "a number"), ("1e400", "'1e400'")])
def test_what_is_no_finite_number_is_an_error_of_its_row(value, said, assert_last_is_refused):
    assert_last_is_refused(scored([*SPREAD, value]), said)


def test_rows_to_predict_on_need_no_score():
    assert list(read([{"text": "a"}, {"text": "b", "score": ""}], layout="score", require_target=False)) == [
        {"text": "a"}, {"text": "b"}]


def test_each_part_of_the_range_is_on_both_sides():
    rows = examples(np.random.default_rng(0).permutation(200) ** 2)
    rest, part = splits.split(rows, 0.2, seed=1)
    for level in range(10):
        within = [sum(20 * level <= row["score"] ** 0.5 < 20 * (level + 1) for row in side) for side in (rest, part)]
        assert within == [16, 4]
    assert {len(judge) for _, judge in splits.folds(rows, 5, seed=1)} == {40}
    means = [np.mean([rows[i]["score"] for i in judge]) for _, judge in splits.folds(rows, 5, seed=1)]
    assert np.ptp(means) < 0.1 * np.mean(means)


def test_equal_scores_are_one_part_of_the_range_and_order_does_not_matter():
    rows = examples([0.0] * 60 + [float(n) for n in range(1, 41)])
    backwards = rows.subset(range(99, -1, -1))
    assert {row["text"] for row in splits.split(rows, 0.2, seed=3)[1]} == {
        row["text"] for row in splits.split(backwards, 0.2, seed=3)[1]}
    assert sum(row["score"] == 0 for row in splits.split(rows, 0.2, seed=3)[1]) == 12


def test_texts_with_different_scores_are_told():
    rows = [{"text": "A text", "score": 10.0}, {"text": "b", "score": 2.0}, {"text": "a  text", "score": 9.5},
            {"text": "B", "score": 2.0}]
    found = leakage.conflicts(Examples(tuple(rows), Layout.SCORE, tuple("abcd")))
    assert [(one.rows, one.labels) for one in found] == [((0, 2), ("9.5", "10.0"))]


def test_no_language_model_is_asked_for_a_score():
    with pytest.raises(OptionError, match="no language model is asked for a score"):
        Template.parse({"layout": "score", "style": "chat"}, where="template")
