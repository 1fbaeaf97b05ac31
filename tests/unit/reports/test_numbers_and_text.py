"""Figures as a person reads them, and texts made fit to be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.reports import sample

from scrimp.evaluation.outcome import InspectedRow, Score
from scrimp.reports import numbers, text


@pytest.mark.parametrize(("seconds", "told"), [
    (0, "0.0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (221, "3 min 41 s"), (3600, "1 h"),
    (7500, "2 h 5 min"), (200_000, "2 days"),
])
def test_durations(seconds: float, told: str) -> None:
    assert numbers.duration(seconds) == told


@pytest.mark.parametrize(("amount", "told"), [
    (0, "0 B"), (999, "999 B"), (1023, "1.0 KiB"), (1004 * 2**20, "1.0 GiB"), (9_786_112, "9.3 MiB"),
    (2**30 - 1, "1.0 GiB"), (150 * 2**20, "150 MiB"), (5 * 2**50, "5,120 TiB"),
])
def test_sizes(amount: int, told: str) -> None:
    assert numbers.size(amount) == told


@pytest.mark.parametrize(("amount", "told"), [(999, "999"), (1204, "1.2k"), (134_515_008, "135M"), (999_999, "1.0M")])
def test_short_counts(amount: int, told: str) -> None:
    assert numbers.short(amount) == told


@pytest.mark.parametrize(("value", "told"), [
    (0.0, "0.000"), (-0.0001, "0.000"), (3.4121, "3.412"), (43.27, "43.3"), (12_345.6, "12,346"), (2e12, "2.00e+12"),
])
def test_decimals(value: float, told: str) -> None:
    assert numbers.decimal(value) == told


def test_a_change_keeps_its_sign_unless_it_is_nothing() -> None:
    assert [numbers.change(value) for value in (0.021, -0.021, 0.0)] == ["+0.021", "-0.021", "0.000"]


def test_shares_are_in_per_cent_and_other_metrics_are_not() -> None:
    assert numbers.interval(sample.accuracy(0.73)) == "73.0% [68.4, 77.1]"
    assert numbers.interval(Score(metric="chrf", value=43.2, low=40, high=46.1, n=5)) == "43.2 [40.0, 46.1]"
    assert numbers.metric_name("macro_f1") == "macro F1"
    assert numbers.share(1, 0) == "none"


@given(st.text(st.characters()))
def test_visible_text_can_be_encoded_and_holds_no_control(given_text: str) -> None:
    shown = text.visible(given_text)
    shown.encode("utf-8")
    assert all(char.isprintable() or char in "\n\t" or ord(char) > 0x7F for char in shown)
    assert text.visible(shown) == shown


def test_clip_keeps_short_lines_and_shortens_long_ones() -> None:
    assert text.clip("a  b\nc", 10) == "a b c"
    assert text.clip("abcdefghij", 5) == "abcd…"


@given(st.text(max_size=80), st.integers(1, 20), st.integers(1, 200))
def test_clipping_accounts_for_every_character(given_text: str, head: int, most: int) -> None:
    found = text.clipped(given_text, head=head, head_lines=3, most_bytes=most)
    assert given_text.startswith(found.whole)
    assert found.whole.startswith(found.head)
    assert len(found.whole) + found.left_out == found.length == len(given_text)
    assert found.long == (found.head != given_text)


@given(st.lists(st.booleans(), max_size=120), st.integers(16, 64))
def test_runs_account_for_every_token(trained: list[bool], most: int) -> None:
    row = InspectedRow(source="", tokens=("x",) * len(trained), trained=tuple(trained))
    found = text.runs(row, most_tokens=most)
    assert sum(len(run.tokens) + len(run.tail) + run.left_out for run in found) == len(trained)
    kept = [run for run in found if run.tokens]
    assert [run.trained for run in kept] == [run.trained for run in kept][:1] + [
        not before.trained for before in kept[:-1]]


def test_whitespace_of_tokens_is_visible() -> None:
    row = InspectedRow(source="", tokens=(" a", "\n", "\t"), trained=(False,) * 3)
    assert text.runs(row, most_tokens=80)[0].tokens == ("·a", "↵\n", "⇥")


def test_facts_are_words() -> None:
    assert text.facts({"a_b": None, "c": [1, {"d": True}], "e": 240.0, "f": ""}) == [
        ("a b", "not given"), ("c", "1, d: yes"), ("e", "240"), ("f", "not given")]
