"""What is written is read as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import DataError, OptionError
from scrimp.examples.formats import as_found, read
from scrimp.examples.writing import write

ROWS = [{"text": "it's 5\" wide, and\nlong; \u00e9\u6f22", "label": "a"},
        {"text": "=1+1\ttab", "label": "b", "id": "7"}]
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_come_back_from_every_format_with_all_their_fields(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, ROWS)
    examples = read(path)
    assert [row["text"] for row in examples.rows] == [row["text"] for row in ROWS]
    found = as_found(path, examples.subset([1]))
    assert found == [ROWS[1]]


@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda t: t.strip()),
                      min_size=1, max_size=5), suffix=st.sampled_from(SUFFIXES))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back(texts: list[str], suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / f"rows{suffix}"
    rows: list[dict[str, Any]] = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts)]
    write(path, rows)
    assert as_found(path, read(path)) == rows


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_what_has_no_place_in_a_table_is_told(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no place for nested values"):
        write(tmp_path / f"chat{suffix}", [{"messages": [{"role": "user", "content": "hello"}]}])
    assert not list(tmp_path.iterdir())


def test_columns_of_several_kinds_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several kinds"):
        write(tmp_path / "rows.parquet", [{"text": "a"}, {"text": ["b"]}])
    assert not list(tmp_path.iterdir())


def test_rows_that_are_gone_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, ROWS)
    examples = read(path)
    write(path, ROWS[:1])
    with pytest.raises(DataError, match="not there any more") as told:
        as_found(path, examples)
    assert told.value.where == "rows.jsonl:2"


def test_other_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"'\.xlsx' are not written"):
        write(tmp_path / "rows.xlsx", ROWS)
