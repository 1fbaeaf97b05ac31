"""What is said of a selection is what counting by hand says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.data.selection import Selection, Selector
from scrimp.data.selection import survey as surveys
from scrimp.data.selection.balance import quotas, within_labels
from scrimp.data.selection.survey import survey
from scrimp.data.surveyed import Group
from scrimp.examples.formats import read
from scrimp.examples.records import Examples

LONG = "the committee met on a rainy Thursday to discuss the budget of the village library and its leaking roof"


def points(rows: int = 60, width: int = 5) -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def texts(rows: int = 60) -> Examples:
    return read([{"text": f"row {i} of {i * i}", "label": "ab"[i % 3 == 0]} for i in range(rows)], keep_found=True)


def test_groups_are_labels_and_every_row_is_in_one() -> None:
    found = survey(texts(), np.array([0, 3, 1]), vectors=points())
    assert found.grouped_by == "label"
    assert set(found.groups) == {Group(name="b", pool=20, kept=2), Group(name="a", pool=40, kept=1)}


def test_rows_without_labels_are_grouped_by_a_field_that_names_their_source() -> None:
    rows = [{"prompt": f"ask {i}", "completion": "yes", "dataset": "xyz"[i % 3]} for i in range(12)]
    found = survey(read(rows, keep_found=True), np.array([0, 1, 3]))
    assert found.grouped_by == "'dataset'"
    assert {one.name: (one.pool, one.kept) for one in found.groups} == {"x": (4, 2), "y": (4, 1), "z": (4, 0)}
    found = survey(read(rows), np.array([0, 1, 3]))  # its fields are not at hand
    assert (found.grouped_by, [(one.name, one.kept) for one in found.groups]) == ("source", [("rows", 3)])


def test_files_of_a_folder_are_grouped_by_folder(tmp_path) -> None:
    for name in ("a/1.txt", "a/2.txt"):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text(f"text of {name}")
    pool = read(tmp_path / "docs" / "a")
    assert [one.name for one in survey(pool, np.array([0])).groups] == ["a"]


def test_repeats_are_counted_in_the_pool_and_among_the_kept() -> None:
    rows = ["one two three", "One  two three", LONG, LONG.replace("rainy", "sunny"), "something else", "one two THREE"]
    found = survey(read([{"text": text} for text in rows]), np.array([0, 5, 2]))
    assert (found.in_pool.rows, found.in_pool.exact, found.in_pool.near) == (6, 2, 1)
    assert (found.in_kept.rows, found.in_kept.exact, found.in_kept.near) == (3, 1, 0)
    assert found.alike == [[0, 1, 5]]


def test_coverage_is_what_brute_force_finds() -> None:
    vectors, kept = points(), np.array([4, 8, 15, 16, 23, 42])
    found = survey(texts(), kept, vectors=3 * vectors)  # lengths of embeddings do not matter
    apart = np.linalg.norm(vectors[:, None] - vectors[kept][None], axis=2).min(axis=1)
    assert found.nearest is not None and found.coverage is not None
    np.testing.assert_allclose(found.nearest.kept, apart, atol=2e-3)
    assert found.coverage.kept == pytest.approx((apart <= found.coverage.radius).mean(), abs=0.02)
    assert (found.nearest.chance <= found.coverage.radius).mean() == pytest.approx(0.5, abs=0.02)
    assert found.coverage.chance_low <= 0.5 <= found.coverage.chance_high


def test_a_choice_that_covers_the_pool_covers_more_than_chance_and_a_clump_less() -> None:
    centres = np.eye(6, dtype=np.float32)[np.arange(60) % 6]
    vectors = centres + 0.01 * points(60, 6)
    spread, clump = (survey(texts(), kept, vectors=vectors).coverage for kept in (np.arange(6), np.arange(0, 36, 6)))
    assert spread is not None and clump is not None
    assert spread.kept > spread.chance_high
    assert clump.kept < clump.chance_low


def test_a_large_pool_is_looked_at_in_part(monkeypatch) -> None:
    for name, most in (("_LOOKED_AT", 20), ("_LOOKED_THROUGH", 10), ("_NEAR_ROWS", 15)):
        monkeypatch.setattr(surveys, name, most)
    found = survey(texts(), np.arange(30), vectors=points())
    assert found.coverage is not None and found.map is not None
    assert (found.coverage.rows, found.coverage.through, found.in_pool.near_rows) == (20, 10, 15)
    assert len(found.map.rows) <= 40
    assert found.in_pool.rows == 60


def test_the_map_keeps_the_distances_of_points_in_a_plane() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 40)
    plane = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turned = (plane @ np.linalg.qr(np.random.default_rng(1).normal(size=(7, 2)))[0].T).astype(np.float32)
    found = survey(texts(40), np.arange(5), vectors=turned).map
    assert found is not None and sum(found.shares) == pytest.approx(1.0, abs=1e-5)
    apart, seen = (np.linalg.norm(part[:, None] - part[None], axis=2) for part in (plane[found.rows], found.places))
    np.testing.assert_allclose(seen, apart, atol=1e-5)


def test_words_are_counted_where_there_are_no_embeddings() -> None:
    pool = read([{"text": ["cats purr softly", "stocks fell sharply"][i % 2] + f" {i}"} for i in range(20)])
    found = survey(pool, np.array([0, 2]))
    assert found.coverage is not None and found.coverage.by == "word counts" and found.nearest is not None
    assert found.nearest.kept[::2].max() < found.nearest.kept[1::2].min()
    assert survey(read([{"text": "same"}] * 4), np.array([0])).map is None


def test_lengths_are_of_all_texts_of_a_row() -> None:
    rows = [{"prompt": "x" * n, "completion": "y" * n} for n in (1, 2, 30, 40, 50)]
    found = survey(read(rows), np.array([4, 2, 3]))
    assert (found.median_lengths.kept, found.median_lengths.dropped) == (80.0, 3.0)
    assert found.lengths.tolist() == [2, 4, 60, 80, 100]
    assert survey(read(rows), np.arange(5)).median_lengths.dropped is None


def test_the_same_seed_sees_the_same() -> None:
    first, again, other = (survey(texts(), np.arange(6), vectors=points(), seed=seed).coverage for seed in (3, 3, 4))
    assert first == again != other


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.floats(0, 1))
def test_quotas_are_whole_and_within_one_of_the_exact_share(sizes: list[int], share: float) -> None:
    keep = round(share * sum(sizes))
    found = quotas(sizes, keep)
    assert sum(found) == keep
    assert all(abs(given - size * keep / sum(sizes)) < 1 and given <= size
               for given, size in zip(found, sizes, strict=True))


class _Longest(Selector):
    def select(self, pool, keep, *, signals, target=None, seed=0):
        scores = np.array([len(row["text"]) for row in pool.rows], dtype=np.float64)
        return Selection(np.argsort(-scores, kind="stable")[:keep], scores, why="the longest")


def test_within_labels_the_method_chooses_among_each_labels_rows() -> None:
    pool = read([{"text": "x" * (i + 1), "label": "rare" if i < 10 else "often"} for i in range(40)])
    found = within_labels(_Longest(), pool, 8, signals=None).checked(pool, 8, by="test")
    assert sorted(found.indices.tolist()) == [8, 9, 34, 35, 36, 37, 38, 39]
    assert [pool[i]["label"] for i in found.indices[:4]].count("rare") == 1  # the better half has the same shares
    assert found.indices[0] == 39
    assert found.scores is not None and found.scores.tolist() == list(range(1, 41))
    assert found.reasons is not None and found.reasons[0] == "of 'rare' alone: the longest"
    with pytest.raises(OptionError, match="no labels to balance"):
        within_labels(_Longest(), read([{"text": "a"}]), 1, signals=None)
