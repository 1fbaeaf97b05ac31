"""What is written is read as it was."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import DataError, OptionError
from scrimp.examples.formats import read
from scrimp.examples.writing import write

ROWS = [{"text": "it's 5\" wide, and\nlong; \u00e9\u6f22", "label": "a"},
        {"text": "=1+1\ttab", "label": "b", "id": "7"}]
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_come_back_from_every_format_with_all_their_fields(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, ROWS)
    examples = read(path, keep_found=True)
    assert [row["text"] for row in examples.rows] == [row["text"] for row in ROWS]
    assert examples.subset([1]).found == (ROWS[1],)


@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda t: t.strip()),
                      min_size=1, max_size=5), suffix=st.sampled_from(SUFFIXES))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back(texts: list[str], suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / f"rows{suffix}"
    rows: list[dict[str, Any]] = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts)]
    write(path, rows)
    assert list(read(path, keep_found=True).found) == rows


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_what_has_no_place_in_a_table_is_told(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no place for nested values"):
        write(tmp_path / f"chat{suffix}", [{"messages": [{"role": "user", "content": "hello"}]}])
    assert not list(tmp_path.iterdir())


def test_columns_of_several_kinds_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several kinds"):
        write(tmp_path / "rows.parquet", [{"text": "a"}, {"text": ["b"]}])
    assert not list(tmp_path.iterdir())


def test_fields_are_kept_only_where_they_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    assert read(tmp_path / "rows.jsonl").found == ()


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_returns_within_a_cell_stay_there(suffix: str, tmp_path: Path) -> None:
    rows = [{"text": "one\rtwo", "label": "a"}, {"text": "three\r\nfour", "label": "b"}]
    write(tmp_path / f"rows{suffix}", rows)
    assert list(read(tmp_path / f"rows{suffix}", keep_found=True).found) == rows


def test_values_that_json_has_no_kind_for_are_written_as_the_nearest(tmp_path: Path) -> None:
    row = {"text": "a", "label": np.int64(3), "when": date(2024, 2, 29), "nothing": float("nan"), "yes": np.True_}
    write(tmp_path / "rows.jsonl", [row])
    assert read(tmp_path / "rows.jsonl", keep_found=True).found == (
        {"text": "a", "label": 3, "when": "2024-02-29", "nothing": None, "yes": True},)
    write(tmp_path / "rows.csv", [{**row, "sure": True}])
    assert read(tmp_path / "rows.csv", keep_found=True).found == (
        {"text": "a", "label": "3", "when": "2024-02-29", "nothing": "", "yes": "true", "sure": "true"},)
    with pytest.raises(DataError, match="no place in JSON"):
        write(tmp_path / "other.jsonl", [{"text": "a", "image": b"\x00"}])
    assert not (tmp_path / "other.jsonl").exists()


def test_other_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"'\.xlsx' are not written"):
        write(tmp_path / "rows.xlsx", ROWS)
