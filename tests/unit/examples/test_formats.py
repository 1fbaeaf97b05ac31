"""Reading: every container, every flaw that real files have, and nothing dropped without a word."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import DataError, OptionError, ScrimpError
from scrimp.examples.formats import read
from scrimp.examples.records import Layout

ROWS = [{"text": "a film", "label": "good"}, {"text": "a bore", "label": "bad"}, {"text": "a joy", "label": "good"}]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def jsonl(*rows: Any, name: str = "d.jsonl") -> Path:
    return put(name, "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def told(source: Any, **options: Any) -> str:
    with pytest.raises(ScrimpError) as caught:
        read(source, **options)
    return str(caught.value)


# --- containers ------------------------------------------------------------------------------------------------------


def _parquet() -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), "d.parquet")
    return Path("d.parquet")


@pytest.mark.parametrize("make", [
    lambda: jsonl(*ROWS), lambda: jsonl(*ROWS, name="d.ndjson"), lambda: put("d.json", json.dumps(ROWS)),
    lambda: put("d.json", json.dumps({"version": [1], "data": ROWS, "more": {}}, indent=2)),
    lambda: jsonl(*ROWS, name="d.json"), lambda: str(jsonl(*ROWS)), lambda: ROWS, lambda: iter(ROWS), _parquet,
    lambda: put("d.csv", "text,label\na film,good\na bore,bad\na joy,good\n"),
    lambda: put("d.csv", "text;label\r\na film;good\r\na bore;bad\r\na joy;good\r\n"),
    lambda: put("d.tsv", "Text\tLABEL\na film\tgood\na bore\tbad\na joy\tgood"),
    lambda: put("d.csv", "\ufeff,text,label\n0,a film,good\n1,a bore,bad\n2,a joy,good\n"),
])
def test_every_container_gives_the_same_rows(make: Any) -> None:
    found = read(make())
    assert list(found) == ROWS
    assert found.layout is Layout.LABEL
    assert found.labels == ("bad", "good")
    assert found.fingerprint == read(ROWS).fingerprint


def test_a_folder_of_text_files_is_documents() -> None:
    put("docs/b.txt", "second\n"), put("docs/a.md", "first"), put("docs/.hidden.txt", "no"), put("docs/x.png", b"\0")
    found = read("docs")
    assert [row["text"] for row in found] == ["first", "second"]
    assert found.sources == ("docs/a.md", "docs/b.txt")
    assert "1 files that are no text files were left out, such as x.png" in found.notes


def test_a_folder_of_folders_is_labelled() -> None:
    put("reviews/pos/1.txt", "fine"), put("reviews/neg/1.txt", "dull\r\n")
    put("reviews/neg/2.txt", "café".encode("cp1252"))
    found = read("reviews")
    assert list(found) == [{"text": "dull", "label": "neg"}, {"text": "café", "label": "neg"},
                           {"text": "fine", "label": "pos"}]
    assert "folder of folders" in found.layout_reason
    assert any("cp1252" in note for note in found.notes)


def test_folders_that_cannot_be_read_as_such() -> None:
    Path("empty").mkdir()
    assert "holds no text files" in told("empty")
    put("data/train.jsonl", "{}")
    assert "train.jsonl: give that file itself" in told("data")
    put("both/a.txt", "a"), put("both/x/a.txt", "a")
    assert "holds text files and folders" in told("both")
    put("deep/x/y/a.txt", "a"), put("deep/x/b.txt", "b")
    assert "deep/x/y: is a folder within a label's folder" in told("deep")
    assert len(read("deep", on_bad_row="skip")) == 1


def test_links_that_go_round_in_circles() -> None:
    put("round/x/a.txt", "a")
    Path("round/back").symlink_to(Path("round").absolute(), target_is_directory=True)
    assert "round/back: is a link to a folder that it lies in" in told("round")
    Path("self").symlink_to("self")
    assert "self" in told("self")
    Path("one.jsonl").symlink_to("two.jsonl"), Path("two.jsonl").symlink_to("one.jsonl")
    assert "one.jsonl" in told("one.jsonl")


@pytest.mark.parametrize(("name", "content", "words"), [
    ("d.jsonl.gz", b"\x1f\x8b", "unpack"), ("d.jsonl", b"\x1f\x8b\x08\x00", "gzip-compressed"),
    ("d.csv", b"PK\x03\x04", "zip archive or an office document"), ("d.json", b"PAR1", ".parquet"),
    ("d.parquet", b"PAR1 no PAR1", "cannot be read as Parquet"), ("d.parquet", b"", "cannot be read as Parquet"),
    ("d.xlsx", b"", "are not read"), ("d", b"", "are not read"),
])
def test_files_of_other_kinds(name: str, content: bytes, words: str) -> None:
    assert words in told(put(name, content))


def test_files_that_are_not_there_or_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(*ROWS, name="train.jsonl")
    assert "did you mean 'train.jsonl'" in told("trian.jsonl")
    assert "no such file" in told("nowhere/train.jsonl")
    assert "no such file" in told("a\0b.jsonl")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "Permission denied" in told("train.jsonl")


def test_a_pipe_is_not_waited_for() -> None:
    import os

    os.mkfifo("d.jsonl")
    assert "neither a file nor a folder" in told("d.jsonl")


class _Column:
    def int2str(self, number: int) -> str:
        return ("neg", "pos")[number]


class _Hub(list):
    features = {"text": object(), "label": _Column()}


def test_hub_data(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(name: str, configuration: str | None, *, split: str) -> _Hub:
        asked.append((name, configuration, split))
        return _Hub([{"text": "dull", "label": 0}, {"text": "fine", "label": 1}, {"text": "what", "label": -1}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = read("hub:owner/name:small", split="test", on_bad_row="skip")
    assert asked == [("owner/name", "small", "test")]
    assert list(found) == [{"text": "dull", "label": "neg"}, {"text": "fine", "label": "pos"}]
    assert found.sources[0] == "hub:owner/name:small[test]:1"
    assert "1 row skipped" in found.notes[-1]


def test_hub_data_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(*args: Any, **options: Any) -> None:
        raise ConnectionError("offline mode is on\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load)
    message = told("hub:owner/name")
    assert "offline mode is on" in message
    assert "give a file" in message


def test_arguments_that_are_none() -> None:
    assert "only hub data has splits" in told(ROWS, split="train")
    assert "did you mean 'label'" in told(ROWS, layout="labell")
    assert "neither fail nor skip" in told(ROWS, on_bad_row="ignore")
    for source in (5, b"x", {"text": "a"}, None):
        assert "no source of examples" in told(source)


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "layout", "made"), [
    ({"Sentence": "a"}, "text", {"text": "a"}),
    ({"review": "a", "Category": "b"}, "label", {"text": "a", "label": "b"}),
    ({"title": "t", "body": "a", "target": 3}, "label", {"text": "a", "label": "3"}),
    ({"question": "a", "topic": "b"}, "label", {"text": "a", "label": "b"}),
    ({"prompt": "a", "completion": "b", "label": True}, "prompt", {"prompt": "a", "completion": "b"}),
    ({"question": "a", "answer": "b"}, "prompt", {"prompt": "a", "completion": "b"}),
    ({"question": "a", "answer": "b", "rationale": "c"}, "prompt",
     {"prompt": "a", "completion": "b", "rationale": "c"}),
    ({"question": "a", "answer": "b", "rationale": None}, "prompt", {"prompt": "a", "completion": "b"}),
    ({"text": "a", "response": "b"}, "prompt", {"prompt": "a", "completion": "b"}),
    ({"instruction": "a", "input": "c", "output": "b"}, "prompt", {"prompt": "a\n\nc", "completion": "b"}),
    ({"instruction": "a", "input": " ", "output": "b"}, "prompt", {"prompt": "a", "completion": "b"}),
    ({"instruction": "a", "context": None, "response": "b"}, "prompt", {"prompt": "a", "completion": "b"}),
    ({"input": "a", "output": "b"}, "prompt", {"prompt": "a", "completion": "b"}),
    ({"prompt": "a", "chosen": "b", "rejected": "c", "score": 1}, "preference",
     {"prompt": "a", "chosen": "b", "rejected": "c"}),
    ({"prompt": "a", "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
      "rejected": [{"role": "assistant", "content": "c"}]}, "preference",
     {"prompt": "a", "chosen": "b", "rejected": "c"}),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"}, "chat",
     {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"},
                   {"role": "assistant", "content": "b"}]}),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]},
                   {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]},
                   {"role": "tool", "content": "1"}, {"role": "assistant", "content": "b"}],
      "tools": '[{"name": "f"}]'}, "chat",
     {"messages": [{"role": "user", "content": "a"},
                   {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]},
                   {"role": "tool", "content": "1"}, {"role": "assistant", "content": "b"}], "tools": [{"name": "f"}]}),
])
def test_the_layout_is_told_by_the_names(row: dict[str, Any], layout: str, made: dict[str, Any]) -> None:
    found = read([row])
    assert found.layout == layout
    assert found[0] == made
    assert found.layout_reason.startswith(f"{layout}: ")


def test_what_is_not_used_is_said() -> None:
    found = read([{"id": 1, "text": "a", "url": "u"}])
    assert found.notes == ("fields not used: id, url",)
    assert found.layout_reason == "text: 'text' (by the names of the fields)"


def test_names_that_tell_nothing() -> None:
    rows = [{"x": f"text {n}", "y": "ab"[n % 2]} for n in range(10)]
    found = read(rows)
    assert found.labels == ("a", "b")
    assert "guessed" in found.layout_reason
    assert list(read([{"headline_text": "a", "label": "b"}])) == [{"text": "a", "label": "b"}]
    message = told([{"x": f"{n}", "y": f"{n}"} for n in range(10)])
    assert "(x, y) tell no layout" in message
    assert "columns={'text': 'body', 'label': 'kind'}" in message
    assert "(x, y, z)" in told([{"x": "a", "y": "b", "z": "c"}])


def test_columns_given_by_hand() -> None:
    rows = [{"x": "a", "y": "b", "text": "no"}]
    assert list(read(rows, columns={"text": "x", "label": "y"})) == [{"text": "a", "label": "b"}]
    assert list(read(rows, columns={"prompt": "x", "completion": "y"})) == [{"prompt": "a", "completion": "b"}]
    assert list(read(rows, layout="label", require_target=False, columns={"text": "x"})) == [{"text": "a"}]
    assert "there is no column 'z'" in told(rows, columns={"text": "x", "label": "z"})
    assert "did you mean 'label'" in told(rows, columns={"text": "x", "lable": "y"})
    with pytest.raises(OptionError, match="make no label"):
        read(rows, layout="label", columns={"text": "x"})


def test_a_layout_asked_for() -> None:
    assert list(read(ROWS, layout="text")) == [{"text": row["text"]} for row in ROWS]
    assert "tell no chat" in told(ROWS, layout="chat")
    assert "d.jsonl:2: its fields (text) make no label row" in told(jsonl(ROWS[0], {"text": "a"}), layout="label")


def test_rows_to_predict_on_may_lack_the_target() -> None:
    rows = [{"text": "a"}, {"text": "b", "label": None}, {"text": "c", "label": ""}, {"text": "d", "label": "x"}]
    found = read(rows, layout="label", require_target=False)
    assert list(found) == [{"text": "a"}, {"text": "b"}, {"text": "c"}, {"text": "d", "label": "x"}]
    assert found.labels == ("x",)
    assert list(read([{"question": "a"}], require_target=False)) == [{"prompt": "a"}]
    asked = read([{"prompt": "a"}, {"prompt": "a", "chosen": "b", "rejected": "c"}], layout="preference",
                 require_target=False)
    assert list(asked) == [{"prompt": "a"}, {"prompt": "a", "chosen": "b", "rejected": "c"}]
    assert list(read([{"messages": [{"role": "user", "content": "a"}]}], require_target=False))


def test_mixed_layouts_name_the_first_row_of_each() -> None:
    message = told(jsonl(*ROWS, {"prompt": "a", "completion": "b"}, {"text": "only"}))
    assert "several layouts" in message
    assert all(part in message for part in ("d.jsonl:1 is label", "d.jsonl:4 is prompt", "d.jsonl:5 is text"))


def test_labels_become_text_in_natural_order() -> None:
    values = [10, 2.0, True, False, " 1 ", np.int64(3), "9" * 5000]
    found = read([{"text": str(n), "label": value} for n, value in enumerate(values)])
    assert [row["label"] for row in found] == ["10", "2", "true", "false", "1", "3", "9" * 5000]
    assert found.labels[:5] == ("1", "2", "3", "10", "9" * 5000)


# --- bad rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "why"), [
    ('{"text": "a", "text": "b", "label": "x"}', "the key 'text' stands there twice"),
    ('{"text": NaN, "label": "x"}', "NaN is no JSON value"),
    ('{"text": "a", "label": Infinity}', "Infinity is no JSON value"),
    ('{"text": "a", "label": 1e999}', "1e999 is too large a number"),
    ('{"text": "a", "label": ' + "9" * 5000 + "}", "a number of 5000 digits"),
    ('{"text": "a", "label": 10000000000000000000000}', "'label' is a number"),
    ('{"text": "a", "label": 1' + 400 * "0" + "}", "'label' is a number"),
    ('{"text": "a", "label": 0.5}', "'label' is a number"),
    ('{"text": "a", "label": ["x"]}', "'label' is a list"),
    ('{"text": "a", "label": null}', "'label' is missing"),
    ('{"text": "a", "label": " "}', "'label' is empty"),
    ('{"label": "x"}', "its fields (label) make no label row"),
    ('{"text": null, "label": "x"}', "'text' is missing"),
    ('{"text": "", "label": "x"}', "'text' is empty"),
    ('{"text": " \\n\\u00a0", "label": "x"}', "'text' is empty"),
    ('{"text": 5, "label": "x"}', "'text' is a number, not text"),
    ('{"text": {"a": 1}, "label": "x"}', "'text' is an object, not text"),
    ('{"text": "a\\ud800b", "label": "x"}', "half a character (the lone surrogate U+D800)"),
    ('{"text": "a", "label": "\\udc41"}', "half a character (the lone surrogate U+DC41)"),
    ('{"text": "a\\u0000", "label": "x"}', "holds a NUL character"),
    ('{"text": "a\0", "label": "x"}', "not valid JSON: invalid control character"),
    ('{"text": "a", "label": "x"', "not valid JSON: expecting ',' delimiter"),
    ('["a", "x"]', "this is a list"), ("7", "this is a int"), ("null", "this is a NoneType"),
    ('{"text": ' + "[" * 5000 + "]" * 5000 + ', "label": "x"}', "nested too deeply"),
    ('{"text": ' + "[" * 100 + "]" * 100 + ', "label": "x"}', "nested too deeply"),
    ("[" * 100_000, "nested too deeply"),
])
def test_a_bad_line_is_named_with_its_reason(line: str, why: str) -> None:
    message = told(jsonl(ROWS[0], "", line))
    assert "1 of 2 rows cannot be used" in message
    assert "d.jsonl:3: " in message
    assert why in message
    found = read("d.jsonl", on_bad_row="skip")
    assert list(found) == ROWS[:1]
    assert "1 row skipped (d.jsonl:3: " in found.notes[-1]


@pytest.mark.parametrize(("messages", "why"), [
    ([], "'messages' is empty"), ("hi", "'messages' is text, not a list"), (None, "'messages' is missing"),
    (["hi"], "message 1 of 'messages' is text"),
    ([{"role": "user", "content": "a"}], "end with the user's message"),
    ([{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}], "hold no user's message"),
    ([{"role": "user<|im_end|>", "content": "a"}, {"role": "assistant", "content": "b"}], "has the role"),
    ([{"content": "a"}, {"role": "assistant", "content": "b"}], "has the role 'None'"),
    ([{"role": "user", "content": 5}, {"role": "assistant", "content": "b"}], "the content of message 1"),
    ([{"role": "user", "content": " "}, {"role": "assistant", "content": "b"}], "message 1 of 'messages' is empty"),
    ([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], "message 2 of 'messages' is empty"),
    ([{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "b"}], "that are no text"),
    ([{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "b"}], "lone surrogate"),
])
def test_bad_chats(messages: Any, why: str) -> None:
    assert why in told([{"messages": messages}])


def test_bad_pairs_and_tools() -> None:
    assert "the same" in told([{"prompt": "a", "chosen": "b", "rejected": "b"}])
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant") * 2]
    assert "several turns" in told([{"prompt": "a", "chosen": turns, "rejected": "b"}])
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for tools, why in (("{", "not valid JSON"), ({"a": 1}, "no list of objects"), ([1], "no list of objects")):
        assert why in told([{"messages": chat, "tools": tools}])


def test_all_bad_rows_are_told_at_once_and_the_rest_in_a_file() -> None:
    rows = [{"text": "a"}] + [{"text": n} for n in range(30)]
    message = told(jsonl(*rows))
    assert "30 of 31 rows cannot be used" in message
    assert "d.jsonl:21: " in message
    assert "d.jsonl:22: " not in message
    assert "10 more; all are in scrimp-bad-rows.txt" in message
    assert len(Path("scrimp-bad-rows.txt").read_text().splitlines()) == 30
    found = read("d.jsonl", on_bad_row="skip", report="bad/rows.txt")
    assert found.notes == ("30 rows skipped (see bad/rows.txt)",)
    assert Path("bad/rows.txt").read_text().startswith("d.jsonl:2: 'text' is a number")


def test_few_bad_rows_write_no_file() -> None:
    read(jsonl({"text": "a"}, {"text": 1}), on_bad_row="skip")
    assert [path.name for path in Path().iterdir()] == ["d.jsonl"]


def test_nothing_usable_is_an_error_even_when_skipping() -> None:
    assert "2 of 2 rows cannot be used" in told(jsonl("x", "y"), on_bad_row="skip")


def test_repeated_rows_are_kept_and_said() -> None:
    found = read([*ROWS, ROWS[0], ROWS[0]])
    assert len(found) == 5
    assert found.notes == ("2 rows repeat another row exactly",)


@pytest.mark.parametrize(("name", "content"), [
    ("d.jsonl", ""), ("d.jsonl", "\n \n"), ("d.json", " \n"), ("d.json", "[]"), ("d.json", '{"data": []}'),
    ("d.csv", ""), ("d.csv", "text,label\n"), ("d.csv", "text,label"), ("d.tsv", "\n\n"), ("d.jsonl", b"\xff\xfe"),
])
def test_empty_files(name: str, content: str | bytes) -> None:
    assert "holds no rows" in told(put(name, content))
    assert "holds no rows" in told([])


# --- JSON as a whole file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "line", "why"), [
    ('[\n{"text": "a"},\n{"text" "b"}]', 3, "expecting ':' delimiter"), ('[{"text": "a"},\n]', 2, "expecting value"),
    ('[{"text": "a"}', 1, "expected ','"), ('{"data": [{"text": "a"}]', 1, "expected ','"),
    ('[{"text": "a"}]\n[]', 2, "text after the end"), ('"a"', 1, "an array [...] or an object"),
    ("[\n" + "[" * 100_000, 2, "nested too deeply"),
])
def test_json_that_breaks_off_names_the_line(content: str, line: int, why: str) -> None:
    message = told(put("d.json", content))
    assert f"d.json:{line}: " in message
    assert why in message


def test_rows_of_a_json_array_are_named_by_their_lines() -> None:
    content = '[\n  {"text": "a"}, {"text": 1},\n\n  {"text": "b",\n   "text": "c"}\n]'
    message = told(put("d.json", content))
    assert "d.json:2: 'text' is a number" in message
    assert "d.json:4: the key 'text' stands there twice" in message


def test_an_object_without_rows() -> None:
    assert "its keys are: text, label" in told(put("d.json", '{"text": {"0": "a"}, "label": {"0": "b"}}'))


# --- tables ----------------------------------------------------------------------------------------------------------


def test_lines_of_csv_are_true_lines() -> None:
    put("d.csv", 'text,label\r\n"one\r\ntwo",x\r\n\r\nthree\r\nfour,y,z\r\n"fi""ve",y\r\n"six,y\r\nseven,y\r\n')
    message = told("d.csv")
    assert "3 of 5 rows" in message
    assert "d.csv:5: has 1 cells where the header has 2" in message
    assert "d.csv:6: has 3 cells where the header has 2" in message
    assert "d.csv:8: a quote that opens here is never closed" in message
    found = read("d.csv", on_bad_row="skip")
    assert [(row["text"], source) for row, source in zip(found, found.sources, strict=True)] == [
        ("one\r\ntwo", "d.csv:2"), ('fi"ve', "d.csv:7")]


@pytest.mark.parametrize(("content", "why"), [
    ("I love it,good\nI hate it,bad\nso dull,bad\nso so,good\n", "'good' stands again"),
    ("1,0\n2,1\n", "'1' is no name of a column"),
    ("x" * 70 + ",a\nb,c\n", "is no name of a column"),
    ("text,text\na,b\n", "named twice: text"), (",\na,b\n", "it is empty"), ('"text,label\na,b\n', "never closed"),
])
def test_a_missing_header(content: str, why: str) -> None:
    message = told(put("d.csv", content))
    assert "header" in message
    assert why in message


def test_cells_of_any_size_and_the_limit_stays_as_it_was() -> None:
    import csv

    before = csv.field_size_limit()
    assert len(read(put("d.csv", "text\n" + "a" * 500_000 + "\n"))[0]["text"]) == 500_000
    assert csv.field_size_limit() == before


def test_cells_with_nul() -> None:
    assert "d.csv:2: 'text' holds a NUL character" in told(put("d.csv", "text\na\0b\n"))


def test_parquet_with_columns_of_one_name() -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), "d.parquet")
    assert "two columns have the same name" in told("d.parquet")


# --- encodings -------------------------------------------------------------------------------------------------------

HARD = ["naïve café", "emoji 😀👩‍👩‍👧 flag 🇸🇮", "שלום עולם", "مرحبا", "line\u2028separator\x0b\x85", "中文"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv"])
def test_texts_of_all_kinds_in_all_encodings(encoding: str, name: str) -> None:
    rows = [{"text": text} for text in HARD]
    content = {"d.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
               "d.json": json.dumps(rows, ensure_ascii=False), "d.csv": "text\n" + "\n".join(HARD)}[name]
    found = read(put(name, content.encode(encoding)))
    assert [row["text"] for row in found] == HARD
    assert found.notes == ((f"{name} was read as {encoding.upper()}",) if encoding in ("utf-16", "utf-32") else ())


def test_western_european_is_taken_and_said() -> None:
    found = read(put("d.csv", "text,label\ncafé – “fine”,x\nnaïve,y\n".encode("cp1252")))
    assert found[0]["text"] == "café – “fine”"
    assert found.notes == ("d.csv is not UTF-8 and was read as cp1252 (Western European)",)


def test_one_broken_line_does_not_change_the_others() -> None:
    put("d.jsonl", '{"text": "café 😀"}\n'.encode() + '{"text": "café"}\n'.encode("cp1252"))
    assert "d.jsonl:2: 'text' holds a byte that is not UTF-8 (0xe9)" in told("d.jsonl")
    assert read("d.jsonl", on_bad_row="skip")[0]["text"] == "café 😀"


@pytest.mark.parametrize(("content", "why"), [
    (b'{"text": "a"}\n{"text": "\x81"}\n', "d.jsonl:2: is neither UTF-8 nor cp1252"),
    ('{"text": "a"}'.encode("utf-16-le"), "UTF-16 without a byte-order mark"),
    (b"\xff\xfea\0b", "is not valid UTF-16"), (b"\0" * 5000, "is binary"),
])
def test_bytes_that_are_no_text(content: bytes, why: str) -> None:
    assert why in told(put("d.jsonl", content))


def test_lines_of_ten_megabytes_are_fast() -> None:
    long = "word 😀 " * 1_250_000
    path = put("d.jsonl", "".join(json.dumps({"text": long, "label": n}, ensure_ascii=False) + "\n" for n in range(2)))
    assert path.stat().st_size > 20_000_000
    start = time.process_time()
    found = read(path)
    assert time.process_time() - start < 5
    assert found[1]["text"] == long


# --- anything at all -------------------------------------------------------------------------------------------------

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6)
keys = st.sampled_from(["text", "label", "prompt", "completion", "messages", "chosen", "rejected", "tools", "role",
                        "content", "input", "x"])


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.dictionaries(
    keys, json_like | st.lists(st.dictionaries(keys, json_like, max_size=3)), max_size=4)))
def test_any_rows_give_rows_or_a_scrimp_error(rows: list[dict[str, Any]]) -> None:
    try:
        found = read(rows, on_bad_row="skip")
    except ScrimpError:
        return
    skipped = sum(int(note.split()[0]) for note in found.notes if "skipped" in note)
    assert len(found) + skipped == len(rows)
    assert len(found.fingerprint) == 64


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(["p.jsonl", "p.json", "p.csv", "p.tsv"]), content=st.binary(max_size=60),
       good=st.booleans(), at=st.integers(0, 200))
def test_any_bytes_give_rows_or_a_scrimp_error(name: str, content: bytes, good: bool, at: int) -> None:
    if good:
        text = {"p.csv": "text,label\na,b\nc,d\n", "p.tsv": "text\tlabel\na\tb\nc\td\n",
                "p.json": json.dumps(ROWS)}.get(name, "\n".join(map(json.dumps, ROWS))).encode()
        content = text[:at] + content + text[at:]
    path = put(name, content)
    try:
        assert len(read(path, on_bad_row="skip")) > 0
    except DataError:
        pass
