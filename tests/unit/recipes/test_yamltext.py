"""YAML text: what is read, where it stands, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.recipes import yamltext

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-10**18, 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12)


@given(PLAIN)
def test_what_is_dumped_is_read_back(value: object) -> None:
    assert yamltext.read(yamltext.dump(value), "x").value == value


@pytest.mark.parametrize(("text", "value"), [
    ("1e-4", 1e-4), ("5", 5), ("-2.5", -2.5), ("no", "no"), ("on", "on"), ("true", True), ("False", False), ("~", None),
    ('"\\ud83c\\udf89"', "🎉"),
    ("null", None), ("10:30", "10:30"), ("2024-01-01", "2024-01-01"), ("0x1F", "0x1F"), ("'5'", "5"),
    ("1" * 5000, "1" * 5000), ("[a, 1]", ["a", 1]), ("{a: {b: 1}}", {"a": {"b": 1}}), ("", None),
    ("# only a comment", None),
    ("مرحبا 🎉", "مرحبا 🎉"),
])
def test_scalars_are_what_people_expect(text: str, value: object) -> None:
    read = yamltext.read(text, "x").value
    assert read == value
    assert type(read) is type(value)


def test_places_of_keys_and_values() -> None:
    document = yamltext.read("model: m\ndata:\n  train: a\nsteps:\n  - fit: {}\n", "r.yaml")
    assert document.at(("data", "train")) == "r.yaml:3:10"
    assert document.at(("data", "train"), key=True) == "r.yaml:3:3"
    assert document.at(("steps", 0, "fit")) == "r.yaml:5:10"
    assert document.at(("data", "missing")) == "r.yaml:3:3"


@pytest.mark.parametrize(("text", "where", "what"), [
    ("a: 1\nb: 2\na: 3", "r:3:1", "given twice"),
    ("a: &x [1]\nb: *x", "r:1:4", "anchors"),
    ("b: *x", "r:1:4", "anchors"),
    ("a: !!python/object/apply:os.system [ls]", "r:1:4", "tag"),
    ("a: !thing 1", "r:1:4", "tag"),
    ("a: 1\n---\nb: 2", "r:2:1", "second document"),
    ("? [a]\n: 1", "r:1:3", "plain text"),
    ("a: [1, 2", "r:1:9", "no YAML"),
    ("a: b: c", "r:1:5", "no YAML"),
    ("a: \x01", "r:1:4", "control character"),
    ('a: "x\\0y"', "r:1:4", "NUL"),
    ('a: "x\\ud800"', "r:1:4", "half a character"),
    ("[" * 50 + "]" * 50, "r:1:22", "nested"),
    ("[" * 100_000, "r:1:22", "nested"),
    ("[" + "1," * 30_000 + "]", "r:1:", "more than"),
    ("%YAML " + "1" * 5000 + ".1\n--- a", "r", "no YAML"),
    ('"\\U00ffffff"', "r", "no YAML"),
])
def test_refusals_name_the_place(text: str, where: str, what: str) -> None:
    with pytest.raises(OptionError, match=what) as caught:
        yamltext.read(text, "r")
    assert str(caught.value.where).startswith(where)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(OptionError, match="UTF-8") as caught:
        yamltext.read_file(path)
    assert caught.value.where == f"{path}:2:4"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(OptionError, match="larger"):
        yamltext.read_file(path)
    with pytest.raises(OptionError, match="cannot be read"):
        yamltext.read_file(tmp_path)
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert yamltext.read_file(path).value == {"a": 1}
