"""The charts: what is drawn is where the numbers say."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from unit.reports.markup import Page

from scrimp.reports import charts
from scrimp.reports.charts import Bar, Chart, Dot, Point, Scale

number = st.floats(-1e9, 1e9, allow_nan=False)


def drawn(chart: Chart, tag: str, class_: str) -> list[dict[str, str | None]]:
    """The attributes of all elements of a tag and class."""
    found = Page(chart.svg)
    assert found.faults == []
    return [attributes for name, attributes in found.elements
            if name == tag and class_ in str(attributes.get("class")).split()]


def percent(text: str | None) -> float:
    assert text is not None
    assert text.endswith("%")
    return float(text[:-1])


@given(st.lists(number, min_size=1, max_size=6))
def test_ticks_enclose_the_values_and_tell_themselves_apart(values: list[float]) -> None:
    scale = Scale.around(values)
    room = 1e-6 * max(1.0, *map(abs, values))
    assert scale.ticks[0] - room <= min(values)
    assert max(values) <= scale.ticks[-1] + room
    assert 2 <= len(scale.ticks) <= 8
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert scale.at(scale.ticks[0]) == 0
    assert scale.at(scale.ticks[-1]) == 1


@pytest.mark.parametrize(("values", "is_percent", "expected"), [
    ([0.5, 0.78], True, ["50%", "60%", "70%", "80%"]),
    ([0.702, 0.709], True, ["70.2%", "70.4%", "70.6%", "70.8%", "71.0%"]),
    ([0, 1200], False, ["0", "500", "1,000", "1,500"]),
    ([-0.01, 0.02], False, ["-0.01", "0.00", "0.01", "0.02"]),
    ([3.0], False, ["2.6", "2.8", "3.0", "3.2", "3.4"]),
])
def test_ticks_read_well(values: list[float], is_percent: bool, expected: list[str]) -> None:
    scale = Scale.around(values, percent=is_percent)
    assert [scale.text(tick) for tick in scale.ticks] == expected


@pytest.mark.parametrize("values", [[0.0, 5e-324], [5e-324], [1e-310, 3e-310], [-5e-324, 0.0]])
def test_numbers_too_small_to_part_are_drawn_as_one(values):
    scale = Scale.around(values)
    assert scale.ticks[0] <= min(values) and max(values) <= scale.ticks[-1] and scale.ticks[-1] - scale.ticks[0] >= 1


def test_whiskers_stand_at_their_values() -> None:
    dots = [Dot("control", 0.5, 0.4, 0.6, "control"), Dot("ours", 0.8, 0.7, 1.0, "adapted", chosen=True)]
    chart = charts.intervals("k", "Title", "Told", dots, axis="accuracy", say=str, reference=(0.5, "control"))
    scale = Scale.around([0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
    lines = [line for line in drawn(chart, "line", "whisker") if line["y1"] == line["y2"]]
    assert [(percent(line["x1"]), percent(line["x2"])) for line in lines] == [
        (pytest.approx(100 * scale.at(dot.low), abs=0.01), pytest.approx(100 * scale.at(dot.high), abs=0.01))
        for dot in dots]
    assert percent(drawn(chart, "line", "reference")[0]["x1"]) == pytest.approx(100 * scale.at(0.5), abs=0.01)
    assert chart.rows == (("control", "0.5", "0.4", "0.6"), ("ours", "0.8", "0.7", "1.0"))
    assert chart.note == "accuracy; dashed: control"


def test_marks_differ_in_shape_and_the_chosen_one_in_class() -> None:
    shapes = {re.search(r'd="([^"]+)"', charts.symbol(kind))[1] for kind in ("adapted", "control", "untouched")}
    assert len(shapes) == 3
    assert 'class="mark control chosen"' in charts.symbol("control", chosen=True)


def test_bars_are_as_long_as_their_shares() -> None:
    chart = charts.bars("k", "Title", "Told", [Bar("a", 0, 0.25, "25"), Bar("b", 0.25, 1.0, "75")], columns=("", "n"),
                        limit=(0.9, "limit"))
    found = drawn(chart, "rect", "bar")
    assert [(percent(bar["x"]), percent(bar["width"])) for bar in found] == [(0, 25), (25, 75)]
    assert percent(drawn(chart, "line", "reference")[0]["x1"]) == 90
    assert chart.rows == (("a", "25"), ("b", "75"))


def test_a_curve_passes_through_its_points() -> None:
    chart = charts.curve("k", "Title", "Told", [Point(0, 4.0), Point(5, 2.0), Point(10, 0.0)], axis="loss", say=str)
    line = str(drawn(chart, "polyline", "line")[0]["points"])
    places = [tuple(map(float, place.split(","))) for place in line.split()]
    assert places == [(0, 0), (500, 95), (1000, 190)]
    assert chart.rows == (("0", "4.0"), ("5", "2.0"), ("10", "0.0"))


def test_many_points_are_averaged_and_said_to_be() -> None:
    points = [Point(step, float(step % 2)) for step in range(1, 1001)]
    chart = charts.curve("k", "Title", "Told", points, axis="loss", say=lambda value: f"{value:.2f}")
    assert len(str(drawn(chart, "polyline", "line")[0]["points"]).split()) == 200
    assert "mean of 5 neighbours" in chart.note
    assert len(chart.rows) == 40
    assert {value for _, value in chart.rows} <= {"0.48", "0.50", "0.52"}


def test_one_point_is_a_dot() -> None:
    chart = charts.curve("k", "Title", "Told", [Point(7, 1.5)], axis="loss", say=str)
    assert len(drawn(chart, "circle", "point")) == 1


def test_every_chart_names_and_describes_itself() -> None:
    chart = charts.bars("key", "A <title>", "What it & says", [Bar("a", 0, 1, "1")], columns=("", ""))
    found = Page(chart.svg)
    assert found.elements[0][1]["role"] == "img"
    assert found.elements[0][1]["aria-labelledby"] == "key-title"
    assert found.ids == ["key-title", "key-told"]
    assert "A <title>" in found.text
    assert "What it & says" in found.text


def test_elements_escape_all_but_markup() -> None:
    made = charts.element("text", '<b> & "', Markup("<i>kept</i>"), class_='a"b', stroke_width=2)
    assert made == '<text class="a&#34;b" stroke-width="2">&lt;b&gt; &amp; &#34;<i>kept</i></text>'


def test_a_long_label_has_a_longer_form_for_a_desk() -> None:
    chart = charts.bars("k", "T", "t", [Bar("name " * 20, 0, 1, "1")], columns=("", ""))
    assert len(drawn(chart, "text", "phone")) == len(drawn(chart, "text", "desk")) == 1
    assert len(drawn(charts.bars("k", "T", "t", [Bar("name", 0, 1, "1")], columns=("", "")), "text", "desk")) == 0
