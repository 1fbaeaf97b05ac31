"""The page of a selection: sound whatever the pool, bounded whatever its size, and right in what it shows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.reports import sample, selected
from unit.reports.markup import Page
from unit.reports.test_page import assert_sound

from scrimp.data.selection import Selection
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.reports import plots, selection

texts = st.one_of(st.sampled_from((*sample.ATTACKS, sample.ARABIC, sample.EMOJI, "!", "a" * 300, "a b")),
                  st.text(st.characters(
                      exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)).filter(str.strip)


@st.composite
def records(draw: st.DrawFn) -> selection.Record:
    words = draw(st.lists(texts, min_size=1, max_size=12))
    pool = read([{"text": text, **({"label": draw(texts)} if i % 2 == 0 else {"label": "b"})}
                 for i, text in enumerate(words)])
    kept = draw(st.permutations(range(len(pool))))[:draw(st.integers(1, len(pool)))]
    score = st.floats(-1e300, 1e300) | st.sampled_from((np.nan, np.inf, -np.inf))
    scores = draw(st.none() | st.lists(score, min_size=len(pool), max_size=len(pool)))
    reasons = draw(st.none() | st.lists(texts, min_size=len(pool), max_size=len(pool)))
    vectors = draw(st.sampled_from((None, np.zeros((len(pool), 3), np.float32), np.eye(len(pool), dtype=np.float32))))
    return selected.record(pool, Selection(np.array(kept), None if scores is None else np.array(scores), draw(texts),
                                           reasons), vectors=vectors)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(records())
def test_any_selection_makes_a_sound_page(record: selection.Record) -> None:
    assert_sound(selection.render(record))


@pytest.mark.parametrize("name", selected.ALL)
def test_samples_make_sound_pages(name: str) -> None:
    assert_sound(selection.render(selected.ALL[name]()))


def test_attacks_are_shown_as_text() -> None:
    found = Page(selection.render(selected.hostile()))
    assert "script" not in {tag for tag, _ in found.elements}
    for attack in sample.ATTACKS:
        assert attack in found.text


@pytest.mark.parametrize("char", ["&", "字", "\u202e", "w"])
def test_a_heavy_pool_makes_no_heavy_page(char: str) -> None:
    rng = np.random.default_rng(0)
    rows = tuple({"text": f"{i} {char * 500}", "label": f"{char * 200}{i % 400}"} for i in range(6000))
    pool = Examples(rows, "label", tuple(f"{char * 50}.jsonl:{i}" for i in range(6000)))
    made = selected.record(pool, Selection(np.arange(3000)[::-1].copy(), rng.normal(size=6000), char * 999,
                                           [char * 999] * 6000), vectors=rng.normal(size=(6000, 4)))
    html = selection.render(made)
    assert len(html.encode()) < 3_000_000
    found = Page(html)
    assert [attributes.get("class") for _, attributes in found.elements].count("spot kept") == 500 + 1  # and the legend
    assert "drawn are 500 kept and 1,000 dropped rows, by chance, of 6,000" in found.text


def test_the_headline_says_what_was_kept_and_what_it_cost() -> None:
    text = " ".join(Page(selection.render(selected.scored())).text.split())
    assert "24 of 240 rows: margin kept 10.0% of the rows;" in text
    assert "all of it took 12 s." in text
    assert "margin: the rows with the smallest margin" in text


def test_samples_stand_on_both_sides_of_the_border_in_the_order_of_scores() -> None:
    record = selected.scored()
    scores, kinds = record.found.scores, dict(selection._samples(record))
    assert scores is not None
    falling = np.sort(scores)[::-1]
    assert [(heading, [one.score for one in rows]) for heading, rows in kinds.items()] == [
        ("The best that were kept", falling[:3].tolist()), ("The last that were kept", falling[21:24].tolist()),
        ("The best that were dropped", falling[24:27].tolist()),
        ("The worst that were dropped", falling[-3:].tolist())]
    assert [one.rank for one in kinds["The last that were kept"]] == [22, 23, 24]
    assert [one.place for one in kinds["The best that were dropped"]] == [25, 26, 27]
    assert kinds["The best that were kept"][0].reason == f"its margin is {falling[0]:.2f}"


def test_rows_without_scores_have_no_histogram_but_samples_of_both_kinds() -> None:
    record = selected.unscored()
    html = selection.render(record)
    assert 'id="scores-title"' not in html
    assert 'id="lengths-title"' in html
    kinds = dict(selection._samples(record))
    assert list(kinds) == ["The best that were kept", "The last that were kept", "Dropped, drawn by chance"]
    assert {one.rank for one in kinds["Dropped, drawn by chance"]} == {None}


def test_the_table_counts_every_row_of_every_group() -> None:
    record = selected.scored()
    chart = selection._group_chart(record.seen)
    pool, kept, dropped = (sum(int(str(row[at])) for row in chart.rows) for at in (1, 2, 3))
    assert (pool, kept, dropped) == (240, 24, 216)
    labels = [record.pool[i]["label"] for i in record.found.indices]
    assert {row[0]: int(str(row[2])) for row in chart.rows} == {one: labels.count(one) for one in set(labels)}


def test_a_mark_on_the_map_has_its_rows_text() -> None:
    record = selected.scored()
    html = selection.render(record)
    first = record.pool[int(record.found.indices[0])]
    source = record.pool.sources[int(record.found.indices[0])]
    assert f"<title>kept: {source}: {first['text']} · {first['label']}</title>" in html


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=30), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
       st.sampled_from((0.0, 0.1)))
def test_every_value_stands_in_a_column(kept: list[float], dropped: list[float], tail: float) -> None:
    chart = plots.histogram("h", "Values", "", np.array(kept), np.array(dropped), axis="value", say=str, tail=tail)
    assert [sum(int(str(row[at])) for row in chart.rows) for at in (1, 2)] == [len(dropped), len(kept)]


def test_a_share_of_distances_is_read_off_at_the_radius() -> None:
    kept, chance = np.array([0.1, 0.2, 0.3, 0.9]), np.array([[0.5, 0.5, 0.6, 0.7]])
    chart = plots.shares_within("c", "Near", "", kept, chance, axis="distance", radius=0.55)
    assert chart.rows[-1] == ("0.550", "75.0%", "50.0%")


def test_places_fill_the_map_and_are_not_upside_down() -> None:
    places = [plots.Place(-3.0, 5.0, True, "high"), plots.Place(7.0, -5.0, False, "low")]
    chart = plots.scatter("m", "Map", "", places, axis="", columns=("part",), table=[])
    marks = re.findall(r'<svg x="([\d.]+)%" y="([\d.]+)"[^>]*><(\w+)', chart.svg)
    assert marks == [("98.00", "411.6", "circle"), ("2.00", "8.4", "path")]
