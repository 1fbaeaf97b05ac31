"""Sequences on disk and seen through a function are the sequences that they stand for."""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrimp.core.errors import WorkspaceError
from scrimp.examples import sequences
from scrimp.examples.sequences import Spooled, Viewed
from scrimp.examples.templates import Encoded

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
ids = st.lists(st.integers(0, 1 << 20), min_size=1, max_size=9)
rows = ids.flatmap(lambda found: st.builds(
    Encoded, st.just(found), st.lists(st.booleans(), min_size=len(found), max_size=len(found)),
    st.none() | st.integers(0, 9), st.integers(0, 99), st.booleans()))
encoded = st.builds(lambda row, second, reference: Encoded(row.ids, row.trained, row.target, row.row, row.truncated,
                                                           second, reference),
                    rows, st.none() | rows, st.none() | st.tuples(st.floats(-9, 0), st.floats(-9, 0)))


@pytest.fixture
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a short sequence is a file."""
    monkeypatch.setattr(sequences, "_HELD", 1)


@given(st.lists(VALUES, max_size=8), st.sampled_from([1, 1 << 20]), st.data())
def test_values_come_back_wherever_they_are_asked_for(values: list[object], held: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "_HELD", held)
        found = Spooled(values)
    assert len(found) == len(values) and list(found) == values and found == values and values == found
    part = data.draw(st.slices(len(values)))
    assert found + found == [*values, *values] and found[part] == values[part] and found[part] == Spooled(values[part])
    if values:
        picked = data.draw(st.lists(st.integers(-len(values), len(values) - 1)))
        assert list(found.picked(picked)) == [values[i] for i in picked] == [found[i] for i in picked]
        assert found != [*values[:-1], [values[-1]]] and found != values[:-1]
    with pytest.raises(IndexError):
        found[len(values)]


@given(st.lists(encoded, max_size=4))
def test_encoded_rows_come_back_with_all_that_belongs_to_them(given: list[Encoded]) -> None:
    found = Viewed(Spooled(given), Encoded.of)
    assert list(found) == given and list(found[1:]) == given[1:] and len(found) == len(given)
    assert all(found[i] == row for i, row in enumerate(given))


def test_a_view_makes_an_item_when_it_is_asked_for() -> None:
    made: list[int] = []
    view = Viewed(range(10), lambda n: made.append(n) or -n)
    assert view[3] == -3 and view[-1] == -9 and list(view[4:6]) == [-4, -5]
    assert made == [3, 9, 4, 5]


def test_a_copy_stands_for_itself() -> None:
    found = Spooled([{"text": "a"}, {"text": "ü"}])
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert other == found


def test_short_sequences_open_no_file(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    found = [Spooled([n], tmp_path) for n in range(100)]
    assert len(os.listdir("/proc/self/fd")) == before and [one[0] for one in found] == list(range(100))


@pytest.mark.usefixtures("nothing_held")
def test_no_file_is_left_and_none_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    found = Spooled([1, 2], tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + 1 and not list(tmp_path.iterdir())
    part = found[1:]
    del found
    assert list(part) == [2]
    del part
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("nothing_held")
def test_where_nothing_can_be_written_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Spooled([12], tmp_path / "missing")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(WorkspaceError, match="No space left"):
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: full)
        Spooled([12])
