"""Texts with any number of labels: when they are found, how they are read, and how they are parted."""

import numpy as np
import pandas as pd
import pytest

from scrimp.core.errors import OptionError
from scrimp.examples import leakage, splits
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Template

SETS = [["b", "a"], [], ["a"], ["c 10", "c 2"]]
READ = [["a", "b"], [], ["a"], ["c 2", "c 10"]]


def rows_of(sets, text="text", labels="labels", **more):
    return [{text: f"text {n}", labels: value, **more} for n, value in enumerate(sets)]


def examples(sets):
    rows = [{"text": f"text {n}", "labels": sorted(labels)} for n, labels in enumerate(sets)]
    return Examples(tuple(rows), Layout.LABELS, tuple(f"rows:{n}" for n in range(len(rows))))


@pytest.mark.parametrize(("text", "more"), [("text", {}), ("body", {"id": 7}), ("question", {}), ("what was said", {})])
def test_a_text_and_lists_of_labels_are_found(text, more):
    found = read(rows_of(SETS, text=text, **more), find_scores=True)
    assert found.layout is Layout.LABELS
    assert [row["labels"] for row in found] == READ
    assert found.labels == ("a", "b", "c 2", "c 10")
    assert "the field of labels holds several" in found.layout_reason


def test_labels_of_a_table_are_parted_by_semicolons_or_bars(tmp_path):
    (tmp_path / "rows.csv").write_text("text,labels\none,b; a\ntwo,\nthree,a\nfour,c 10|c 2|c 2\n")
    assert [row["labels"] for row in read(tmp_path / "rows.csv", find_scores=True)] == READ


def test_lists_in_a_column_of_parquet_are_labels(tmp_path):
    pd.DataFrame(rows_of(SETS)).to_parquet(tmp_path / "rows.parquet")
    assert [row["labels"] for row in read(tmp_path / "rows.parquet", find_scores=True)] == READ


@pytest.mark.parametrize("values", [["good", "bad"] * 6, [0, 1] * 6, ["", "x"] * 6])
def test_one_value_a_row_is_not_taken_for_several_labels(values):
    assert read(rows_of(values), find_scores=True).layout is Layout.TEXT
    assert [row["labels"] for row in read(rows_of(["a", "", "b"]), layout="labels")] == [["a"], [], ["b"]]


def test_other_layouts_beside_labels_stay_what_they_are():
    assert read(rows_of(SETS, label="x"), find_scores=True).layout is Layout.LABEL
    assert read(rows_of(SETS, text="prompt", completion="x"), find_scores=True).layout is Layout.PROMPT
    assert read(rows_of(SETS)).layout is Layout.TEXT
    assert read(rows_of(SETS, labels="tags"), find_scores=True).layout is Layout.TEXT


def test_labels_by_another_name_are_read_where_that_is_said():
    assert read(rows_of(SETS, labels="tags"), layout="labels")[0]["labels"] == ["a", "b"]
    named = read(rows_of(SETS, text="this", labels="that"), columns={"text": "this", "labels": "that"})
    assert (named.layout, named[0]) == (Layout.LABELS, {"text": "text 0", "labels": ["a", "b"]})


@pytest.mark.parametrize(("value", "said"), [
    (7, "'labels' is a number, not a list of labels"), ({"a": 1}, "an object"), (None, "'labels' is missing"),
    (["a", None], "label 2 of 'labels' is missing"), (["a", " "], "label 2 of 'labels' is empty"),
    ([["a"]], "label 1 of 'labels' is a list"), ([0.5], "label 1 of 'labels' is a number")])
def test_what_is_no_list_of_labels_is_an_error_of_its_row(value, said, assert_last_is_refused):
    assert_last_is_refused(rows_of([*SETS, value]), said)


def test_a_label_that_is_given_twice_counts_once_and_order_says_nothing():
    found = read(rows_of([["b", "a", " b "], ["a", "b"], [1, "1", True]]), layout="labels")
    assert [row["labels"] for row in found] == [["a", "b"], ["a", "b"], ["1", "true"]]


def test_rows_to_predict_on_need_no_labels():
    found = read([{"text": "a"}, {"text": "b", "labels": ""}, {"text": "c", "labels": []}], layout="labels",
                 require_target=False)
    assert list(found) == [{"text": "a"}, {"text": "b"}, {"text": "c", "labels": []}]
    assert found.labels == ()


def test_rare_labels_are_on_both_sides():
    sets = [["common"] * (n % 2) + ["middle"] * (n % 5 == 0) + ["rare"] * (n % 40 == 0) + ["single"] * (n == 3)
            for n in range(200)]
    for seed in range(5):
        rest, part = splits.split(examples(sets), 0.2, seed=seed)
        assert len(part) == 40
        counts = {label: [sum(label in row["labels"] for row in side) for side in (rest, part)]
                  for label in ("common", "middle", "rare", "single")}
        assert counts["rare"] == [4, 1]
        assert counts["single"] == [1, 0]
        assert 6 <= counts["middle"][1] <= 10
        assert 16 <= counts["common"][1] <= 24
        judged = [sum("rare" in sets[i] for i in judge) for _, judge in splits.folds(examples(sets), 5, seed=seed)]
        assert judged == [1] * 5


def test_texts_with_different_labels_are_told():
    rows = [{"text": "A text", "labels": ["a", "b"]}, {"text": "c", "labels": []}, {"text": "a  text", "labels": []},
            {"text": "C", "labels": []}]
    found = leakage.conflicts(Examples(tuple(rows), Layout.LABELS, tuple("wxyz")))
    assert [(one.rows, one.labels) for one in found] == [((0, 2), ("(none)", "a; b"))]


def test_more_labels_than_can_be_counted_on_fingers_are_read():
    sets = [[f"label {n}", f"label {(7 * n) % 200}"] for n in range(200)]
    found = read(rows_of(sets), find_scores=True)
    assert len(found.labels) == 200
    assert found.labels[2] == "label 2"


def test_an_encoder_reads_them_and_no_language_model_is_asked(encoder_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    rows = examples([["b"], [], ["a", "b"]])
    template = Template.for_(tokenizer, rows)
    assert template.style == "pooled"
    assert [one.wanted for one in template.encode_all(rows, tokenizer)] == [(0.0, 1.0), (0.0, 0.0), (1.0, 1.0)]
    assert template.encode({"text": "new"}, tokenizer).wanted is None
    assert template.shown(rows[2]) == ("text 2", "a; b")
    assert template.shown(rows[1])[1] == "(none)"
    assert not any(np.any(one.trained) for one in template.encode_all(rows, tokenizer))
    with pytest.raises(OptionError, match="no language model is asked for several labels"):
        Template.parse({"layout": "labels", "style": "chat"}, where="template")
