"""Weights of domains by their formulas, and rows as they are drawn."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.data.mixing import Domains, Drawing, drawn_rows, forks, skill_graph

SIZES = {"web": 900, "law": 90, "art": 10}
NAMES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


def weights(name: str, step: int = 0, steps: int = 100, rows: int = 100, looks=(), sizes=SIZES, **options):
    return build("mixing", name, options).weights(step, signals=Domains(sizes, steps, rows, looks))


def test_temperature_goes_from_proportional_to_uniform() -> None:
    assert weights("proportional") == {"web": 0.9, "law": 0.09, "art": 0.01}
    assert weights("uniform")["art"] == pytest.approx(1 / 3)
    found = weights("temperature", temperature=2.0)
    assert found["web"] / found["art"] == pytest.approx(math.sqrt(90))


def test_cooldown_changes_once_where_it_is_told_to() -> None:
    hot, cold = weights("temperature"), weights("proportional")
    assert [weights("cooldown", step) for step in (0, 49)] == [hot, hot]
    assert [weights("cooldown", step) for step in (50, 99)] == [cold, cold]


def test_a_cap_counts_no_domain_for_more() -> None:
    assert weights("capped", cap=90)["web"] == weights("capped", cap=90)["law"] == pytest.approx(90 / 190)


@given(sizes=NAMES, rows=st.integers(1, 400))
def test_diversity_first_repeats_nothing_while_there_are_others(sizes: dict[str, int], rows: int) -> None:
    rows = min(rows, sum(sizes.values()))
    found = {name: rows * weight for name, weight in weights("diversity-first", rows=rows, sizes=sizes).items()}
    most = max(found.values())
    for name, size in sizes.items():
        assert found[name] <= size + 1e-9
        assert found[name] == pytest.approx(most) or found[name] == pytest.approx(size)


def test_stages_follow_each_other_and_share_by_parts() -> None:
    told = {"favoured": "law,art=3", "begins": (0, 0.5), "shares": (None, 0.8)}
    assert weights("fixed", 49, **told) == weights("proportional")
    assert weights("fixed", 50, **told) == pytest.approx({"web": 0.2, "law": 0.2, "art": 0.6})


def test_dmt_begins_with_the_special_alone_and_replays_a_little() -> None:
    assert weights("dmt", 0, favoured="law,art")["web"] == 0
    assert weights("dmt", 50, favoured="law,art")["web"] == pytest.approx(255 / 256)


def test_all_domains_favoured_share_everything() -> None:
    assert weights("upsample-end", 99, favoured="web=1,law=2,art=1")["law"] == pytest.approx(0.5)


def test_a_fork_is_the_last_stage_without_one_domain() -> None:
    made = forks(build("mixing", "upsample-end", {"favoured": "law,art"}))
    assert set(made) == {"law", "art"}
    found = made["law"].weights(0, signals=Domains(SIZES, 10, 10))
    assert found == pytest.approx({"web": 0.5, "law": 0.0, "art": 0.5})


@pytest.mark.parametrize(("options", "message"), [
    ({"favoured": "lw"}, "did you mean 'law'"), ({}, "no domain is favoured"),
    ({"favoured": "law", "begins": (0, 0.5)}, "2 stages begin, and 1 have a share"),
    ({"favoured": "law", "begins": (0.5,)}, "rises from 0"), ({"favoured": "law=0"}, "not all 0"),
    ({"favoured": "law=x"}, "could not convert")])
def test_stages_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        weights("fixed", **options)


def test_skill_it_passes_losses_on_along_its_graph() -> None:
    graph = {"web": {"web": 0.0, "art": 0.5}, "law": {"law": 0.2}, "art": {}}
    look = {"web": 9.0, "law": 1.0, "art": 2.0}
    found = weights("skill-it", graph=graph, rate=1.0, looks=(look,))
    assert found["web"] / found["art"] == pytest.approx(math.exp(0.5 * 2.0))
    assert found["law"] / found["art"] == pytest.approx(math.exp(0.2))


def test_only_the_window_counts() -> None:
    old, new = {"web": 5.0, "law": 0.0, "art": 0.0}, {"web": 0.0, "law": 1.0, "art": 0.0}
    one = weights("skill-it", rate=1.0, looks=(new,))
    assert weights("skill-it", rate=1.0, window=1, looks=(old, new)) == pytest.approx(one)
    assert weights("skill-it", rate=1.0, window=2, looks=(old, new))["web"] > one["web"]


def test_weights_are_smoothed_from_even_ones() -> None:
    look = {"web": 1.0, "law": 0.0, "art": -1.0}
    sharp = weights("dga", smoothing=0.0, looks=(look,))
    half = weights("dga", smoothing=0.5, looks=(look,))
    assert half["art"] == pytest.approx((sharp["art"] + 1 / 3) / 2)


def test_a_graph_that_names_another_domain_is_refused() -> None:
    with pytest.raises(OptionError, match="did you mean 'law'"):
        weights("skill-it", graph={"web": {"lw": 1.0}}, looks=({"web": 1.0, "law": 1.0, "art": 1.0},))
    with pytest.raises(OptionError, match="gradients need none"):
        weights("dga", graph={"web": {"law": 1.0}})


def test_a_skill_graph_holds_what_lowered_a_loss() -> None:
    found = skill_graph({"a": 2.0, "b": 4.0}, {"a": {"a": 1.0, "b": 5.0}, "b": {"a": 2.0, "b": 1.0}})
    assert found == {"a": {"a": 0.5, "b": 0.0}, "b": {"a": 0.0, "b": 0.75}}


@given(sizes=NAMES, seed=st.integers(0, 9), count=st.integers(0, 200))
def test_rows_of_a_domain_come_once_before_one_comes_again(sizes: dict[str, int], seed: int, count: int) -> None:
    domains = Domains(sizes, steps=max(count, 1), rows=count)
    drawn = drawn_rows(build("mixing", "uniform"), domains, seed=seed)
    for name, size in sizes.items():
        rows = [row for domain, row in drawn if domain == name]
        for at in range(0, len(rows), size):
            turn = rows[at:at + size]
            assert len(set(turn)) == len(turn) and set(turn) <= set(range(size))
    assert drawn == drawn_rows(build("mixing", "uniform"), domains, seed=seed)


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=60))
def test_every_domain_has_its_share_at_any_time(numbers: list[list[float]]) -> None:
    drawing, wanted = Drawing(SIZES, seed=0), dict.fromkeys(SIZES, 0.0)
    for row in numbers:
        step = dict(zip(SIZES, (number / sum(row) for number in row), strict=True))
        drawing.next(step)
        wanted = {name: wanted[name] + step[name] for name in SIZES}
        assert all(abs(drawing.drawn[name] - wanted[name]) <= len(SIZES) for name in SIZES)


def test_a_domain_of_weight_zero_is_never_drawn_though_it_is_owed_something() -> None:
    drawing = Drawing(SIZES, seed=0)
    drawing.next({"web": 0.4, "law": 0.3, "art": 0.3})
    assert {drawing.next({"web": 1.0, "law": 0.0, "art": 0.0})[0] for _ in range(5)} == {"web"}


def test_a_drawing_goes_on_from_what_it_holds() -> None:
    share = {"web": 0.5, "law": 0.3, "art": 0.2}
    whole, first = Drawing(SIZES, seed=1), Drawing(SIZES, seed=1)
    rows = [whole.next(share) for _ in range(90)]
    begun = [first.next(share) for _ in range(40)]
    again = Drawing(SIZES, seed=1, owed=dict(first.owed), drawn=dict(first.drawn))
    assert begun + [again.next(share) for _ in range(50)] == rows
