"""What is foreseen of a run, from what was measured at its beginning."""

from __future__ import annotations

from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.evaluation.outcome import WHOLE
from scrimp.examples.records import Layout
from scrimp.planning import timing
from scrimp.planning.costs import Probe
from scrimp.planning.protocol import Protocol
from scrimp.planning.timing import Timing


class Documents(tuple[int, ...]):
    """Rows that have no labels."""

    layout = Layout.TEXT


ROWS = Documents(range(40))
MIB = 1 << 20


def standing(folder: Path, name: str = "tiny", row_s: float = 0.1) -> SimpleNamespace:
    """A base model of which it is known how long a row takes, of ten tokens."""
    (folder / f"row-seconds-{name}.json").write_text(str(row_s))
    return SimpleNamespace(checkpoint=SimpleNamespace(fingerprint=name), causal=True, row_tokens=lambda _: 10,
                           writes=False, answer_share=1.0)


def foreseen(folder: Path, *kinds: str, quantized: bool = False, mapped: int = 0) -> timing.Forecast:
    """Of a run whose rows take a tenth of a second, and ten tokens each of a MiB each; its model rests in a GiB."""
    folder.mkdir()
    base = standing(folder)
    run = SimpleNamespace(folder=folder, test=None, train=ROWS, meter=Meter(Budget(time="1h")),
                          request=SimpleNamespace(budget=Budget(time="1h"), seed=0),
                          ledger=SimpleNamespace(write=lambda *_, **__: None))
    tuned = SimpleNamespace(name="adapted", tokens=lambda _: 4000, step_tokens=lambda _: 80, batch_tokens=lambda _: 80,
                            base=SimpleNamespace(mapped=mapped))
    ways = [SimpleNamespace(kind=kind, name=kind, asks=0, beside=0, base=base, in_place=False,
                            quantized=quantized and kind == "adapted") for kind in kinds]
    found = Timing(run, ways)  # type: ignore[arg-type]
    found._saw(tuned, Probe(tokens_per_s=100.0, resting_memory=1024 * MIB, fixed_memory=8 * MIB,  # type: ignore[arg-type]
                            memory_per_token=float(MIB)))
    found.foresee(ways, Protocol(((ROWS, ()),), refit=False, words="nothing"))  # type: ignore[arg-type]
    return found.foreseen[WHOLE]


def test_a_base_in_four_bits_is_foreseen_to_be_looked_at_once_more(tmp_path: Path) -> None:
    usual, quantized = (foreseen(tmp_path / str(held), "adapted", quantized=held) for held in (False, True))
    assert quantized.wall_s - usual.wall_s == pytest.approx(1.5 * 15, abs=1)


def test_memory_is_that_of_training_or_of_loading_what_was_saved(tmp_path: Path) -> None:
    training = foreseen(tmp_path / "training", "adapted", mapped=10 * MIB).peak_memory
    loading = foreseen(tmp_path / "loading", "adapted", mapped=500 * MIB).peak_memory
    beside = foreseen(tmp_path / "beside", "control", "adapted", mapped=10 * MIB).peak_memory
    assert training == 1024 * MIB + (8 + 80) * MIB + timing._SHAPES_MEMORY
    assert loading == training + (500 - 88) * MIB
    assert beside == training + timing._CHEAP_RUNGS_MEMORY


def budgeted(folder: Path, row_s: dict[str, float], rows: Documents = ROWS,
             **budget: Any) -> tuple[Timing, list[SimpleNamespace]]:
    """Tuned ways over one model, of which it is known what they take for a row; in no order."""
    time = budget.pop("time", "1h")
    run = SimpleNamespace(folder=folder, test=budget.pop("test", None), train=rows, meter=Meter(Budget(time=time)),
                          request=SimpleNamespace(budget=Budget(time=time, **budget), seed=0))
    base = standing(folder)
    ways = [SimpleNamespace(kind="adapted", name=name, asks=0, beside=0, quantized=False, in_place=False, base=base)
            for name in row_s]
    found = Timing(run, ways)  # type: ignore[arg-type]
    found._paces = {name: timing.Pace(row_s=seconds) for name, seconds in row_s.items()}
    return found, ways


WHOLE_ROWS = Protocol(((ROWS, ()),), refit=False, words="nothing")


def test_a_tuned_way_leaves_those_that_follow_their_share(tmp_path: Path) -> None:
    found, ways = budgeted(tmp_path, {"large": 30.0, "small": 10.0}, tokens=8000)
    last, first = (found.allowance(way, [len(ROWS)], protocol=WHOLE_ROWS) for way in ways)  # type: ignore[arg-type]
    assert (first.tokens, last.tokens) == (2000, 8000)  # a quarter of what there is, and then all of it
    assert first.time is not None and last.time is not None
    assert first.time == pytest.approx((last.time - found._beside_s(ways[0], WHOLE_ROWS)) / 4, abs=1)  # type: ignore[arg-type]


def test_where_there_is_too_little_for_all_the_modest_get_what_they_need(tmp_path: Path) -> None:
    found, (large, small) = budgeted(tmp_path, {"large": 1000.0, "small": 20.0})
    given = found.allowance(small, [len(ROWS)], protocol=WHOLE_ROWS).time  # type: ignore[arg-type]
    assert given == pytest.approx(20.0 * len(ROWS), rel=0.01)  # where its share of the work would be 2 %
    assert found.allowance(large, [len(ROWS)], protocol=WHOLE_ROWS).time > 3000  # type: ignore[arg-type, operator]


def folded(monkeypatch: Any, parts: int = 5) -> Protocol:
    """Of forty rows; so is what fewer folds are made by."""
    def parted(_: Any, count: int, seed: int = 0) -> Protocol:
        pairs = tuple((tuple(row for row in ROWS if row % count != part), ROWS[part::count]) for part in range(count))
        return Protocol(pairs, True, f"{count} folds")

    monkeypatch.setattr(timing, "folded", parted)
    return parted(ROWS, parts)


def planned(found: Timing, ways: list[SimpleNamespace], protocol: Protocol) -> dict[str, int]:
    """On how many folds each way is trained, in the order in which they are; 0 is left out."""
    order = found.plan(ways, protocol)  # type: ignore[arg-type]
    return {way.name: len(found.protocol_of(way, protocol).parts) * bool(found._share(way)) for way in order}


@pytest.mark.parametrize(("large", "small", "folds"), [
    (1.0, 1.0, {"large": 5, "small": 5}),
    (20.0, 10.0, {"large": 2, "small": 2}),      # both, rather than one that is judged better
    (24.0, 20.0, {"large": 2, "small": 2}),      # with a few steps left out, rather than a way
    (60.0, 50.0, {"large": 2, "small": 0}),      # most steps of one, rather than few of both
    (80.0, 10.0, {"large": 2, "small": 2}),      # few steps of one beside all of the other, rather than not at all
    (80.0, 80.0, {"large": 2, "small": 0}),      # the most promising, which comes first
    (1000.0, 10.0, {"small": 5, "large": 0}),    # what there is time for, rather than what is promising
    (1000.0, 1000.0, {"large": 0, "small": 0}),
])
def test_as_many_ways_as_there_is_time_for_then_as_many_folds(
        tmp_path: Path, monkeypatch: Any, large: float, small: float, folds: dict[str, int]) -> None:
    found, ways = budgeted(tmp_path, {"large": large, "small": small})
    assert planned(found, ways, folded(monkeypatch)) == folds


def test_what_is_left_out_is_said_and_takes_no_time_from_the_others(tmp_path: Path, monkeypatch: Any) -> None:
    found, (large, small) = budgeted(tmp_path, {"large": 1000.0, "small": 20.0})
    protocol = folded(monkeypatch)
    planned(found, [large, small], protocol)
    with pytest.raises(BudgetError, match="its 3 trainings would take about 80000 s"):
        found.require(large, protocol)  # type: ignore[arg-type]
    found.require(small, protocol)  # type: ignore[arg-type]
    given = found.allowance(small, [40, 20, 20], protocol=found.protocol_of(small, protocol))  # type: ignore[arg-type]
    assert given.time == pytest.approx(1800, rel=0.02)  # half of its rows, so half of the hour


def test_a_way_of_which_few_steps_are_planned_is_given_so_much_and_a_share_of_what_is_over(
        tmp_path: Path, monkeypatch: Any) -> None:
    found, (large, small) = budgeted(tmp_path, {"large": 80.0, "small": 10.0})
    protocol = folded(monkeypatch)
    assert planned(found, [large, small], protocol) == {"large": 2, "small": 2}
    protocol = found.protocol_of(large, protocol)  # type: ignore[arg-type]
    given = found.allowance(large, [40, 20, 20], protocol=protocol).time  # type: ignore[arg-type]
    rest = found._beside_s(small, protocol) + found.closing_s + found.after_s(large)  # type: ignore[arg-type]
    judging = found._judging_s(large, protocol)  # type: ignore[arg-type]
    assert given == pytest.approx((3600 - rest - judging) / 2 * 24 / 34, rel=0.02)  # 0.3 of 80 s beside 10 s a row


def test_what_shows_rows_is_asked_so_much_longer_and_left_out_sooner(tmp_path: Path) -> None:
    found, (tuned,) = budgeted(tmp_path, {"only": 1.0}, time="10m")
    untouched, shown, words = (SimpleNamespace(kind=kind, name=name, asks=asks, beside=0, base=base) for
                               kind, name, asks, base in [("untouched", "untouched", 1.0, tuned.base),
                                                          ("control", "shown", 5.0, tuned.base),
                                                          ("control", "words", 0.0, None)])
    found._ways = [tuned, shown, untouched, words]  # type: ignore[list-item]
    assert sorted(found._ways, key=found.rank) == [words, untouched, shown, tuned]
    assert found.row_s(shown) == pytest.approx(5 * found.row_s(untouched)) == 0.5  # type: ignore[arg-type]
    judged = Protocol(((ROWS, tuple(range(100, 400))),), refit=True, words="others")
    found.require(untouched, judged)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="would take about 150 s, more than the 60 s"):
        found.require(shown, judged)  # type: ignore[arg-type]


def test_what_is_tuned_in_place_predicts_as_fast_as_before(tmp_path: Path) -> None:
    found, (way,) = budgeted(tmp_path, {"only": 1.0})
    assert found._tuned_row_s(way) == pytest.approx(0.15)  # type: ignore[arg-type]
    way.in_place = True
    assert found._tuned_row_s(way) == pytest.approx(0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("tokens", "step", "least"), [
    (4000, 80, 3.2), (4000, 1000, 12.0), (400, 10, 3.0)])  # four steps, a share of few steps, three seconds
def test_a_training_is_begun_with_time_for_four_steps_or_for_a_share_of_few(
        tmp_path: Path, tokens: int, step: int, least: float) -> None:
    found, _ = budgeted(tmp_path, {})
    tuned = SimpleNamespace(name="tuned", tokens=lambda _: tokens, step_tokens=lambda _: step,
                            batch_tokens=lambda _: 80, base=SimpleNamespace(mapped=0))
    found._saw(tuned, Probe(tokens_per_s=100.0, resting_memory=0, fixed_memory=0,  # type: ignore[arg-type]
                            memory_per_token=1.0))
    assert found._paces["tuned"].least_s == pytest.approx(least)


def test_the_plan_of_an_earlier_attempt_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    found, ways = budgeted(tmp_path, {"large": 20.0, "small": 10.0})
    first = planned(found, ways, folded(monkeypatch))
    later, ways = budgeted(tmp_path, {"large": 2000.0, "small": 1000.0})
    assert planned(later, ways, folded(monkeypatch)) == first


def test_what_was_hopeful_stays_so_when_a_killed_run_has_less_time(tmp_path: Path) -> None:
    """A hundred rows of a tenth of a second: at least 18 s of training."""
    rows = Documents(range(100))
    rows.layout = Layout.LABEL
    told = {}
    for attempt, time in (("first", "20s"), ("later", "1s")):
        found, (way,) = budgeted(tmp_path, {"only": 1.0}, rows=rows, time=time)
        way.visits = lambda train: len(train)
        told[attempt] = found.hopeless(way)  # type: ignore[arg-type]
    assert told == {"first": False, "later": False}


@pytest.mark.parametrize(("time", "hopeless"), [("13s", False), ("11s", True)])
def test_half_as_much_time_again_as_is_left_is_hopeless(tmp_path: Path, time: str, hopeless: bool) -> None:
    """A hundred rows of a tenth of a second: at least 18 s of training."""
    rows = Documents(range(100))
    rows.layout = Layout.LABEL
    found, (way,) = budgeted(tmp_path, {"only": 1.0}, rows=rows, time=time)
    way.visits = lambda train: len(train)
    assert found.hopeless(way) is hopeless  # type: ignore[arg-type]


def test_what_is_not_tuned_is_fitted_on_all_rows_however_it_is_judged(tmp_path: Path) -> None:
    found, (tuned,) = budgeted(tmp_path, {"only": 1.0})
    apart = Protocol(((ROWS[:30], ROWS[30:]),), refit=False, words="held out")
    assert found.protocol_of(SimpleNamespace(kind="control", name="words"), apart).refit  # type: ignore[arg-type]
    assert found.protocol_of(tuned, apart) is apart  # type: ignore[arg-type]


@pytest.mark.parametrize(("row_s", "folds"), [(0.5, True), (30.0, False)])
def test_many_rows_are_folded_if_the_quickest_way_has_the_time(tmp_path: Path, row_s: float, folds: bool) -> None:
    found, _ = budgeted(tmp_path, {"large": 1000.0, "small": row_s}, rows=Documents(range(1000)))
    assert found._may_fold() is folds


@pytest.mark.parametrize(("time", "asked"), [("0.8s", [1]), ("2s", [1, 1]), ("1h", [1, 2, 4, 8, 9])])
def test_a_model_that_takes_long_for_the_shortest_row_is_timed_with_few_others(
        tmp_path: Path, monkeypatch: Any, time: str, asked: list[int]) -> None:
    """It takes 0.2 s, far more than 3 % of two seconds; the rows are of 24 to 1 words, so 12.5 times as long."""
    found, _ = budgeted(tmp_path, {"only": 1.0}, time=time)
    counts: list[int] = []

    def predict(rows: Any, meter: Meter) -> None:
        assert counts or rows == [{"text": "word"}]
        counts.append(len(rows))
        sleep(0.2 if len(counts) == 1 else 0.0)

    rows = [{"text": "word" * (24 - row % 24)} for row in ROWS]
    monkeypatch.setattr(timing, "asked", lambda base: SimpleNamespace(predict=predict))
    monkeypatch.setattr(timing, "shuffled", lambda train, seed: SimpleNamespace(rows=rows))
    seconds = found._timed_row(standing(tmp_path))  # type: ignore[arg-type]
    assert counts == asked
    assert seconds > 12 * 0.2 if time == "0.8s" else seconds < 0.1


def test_answers_are_timed_many_at_once(tmp_path: Path, monkeypatch: Any) -> None:
    found, _ = budgeted(tmp_path, {"only": 1.0})
    counts: list[int] = []
    monkeypatch.setattr(timing, "asked", lambda base: SimpleNamespace(
        predict=lambda rows, meter: counts.append(len(rows)) or sleep(0.05)))
    monkeypatch.setattr(timing, "shuffled", lambda train, seed: SimpleNamespace(rows=[{"text": "word"}] * 30))
    writing = standing(tmp_path)
    writing.writes = True
    assert found._timed_row(writing) < 0.05 / 4  # type: ignore[arg-type]
    assert counts == [1, 8, 16]


def test_what_was_tuned_has_learned_when_to_stop(tmp_path: Path) -> None:
    found, (way,) = budgeted(tmp_path, {"only": 1.0}, test=range(50))
    whole = found.after_s(way)  # type: ignore[arg-type]
    way.base.answer_share = 0.2
    assert whole - found.after_s(way) == pytest.approx(50 * 1.5 * 0.1 * 0.8)  # type: ignore[arg-type]


def test_what_judging_took_says_how_many_rows_are_tested(tmp_path: Path) -> None:
    found, (way,) = budgeted(tmp_path, {"only": 1.0}, time="100s", test=range(500))
    way.kind, planned = "adapted", found.tests(way)  # type: ignore[arg-type]
    found.saw_judged(way, 1.0, 100)  # type: ignore[arg-type]
    assert found.tests(way) == planned  # type: ignore[arg-type]
    left_s = 100 - found.closing_s - 1.5 * found._retention_s(way)  # type: ignore[arg-type]
    found.saw_judged(way, 40.0, 10)  # type: ignore[arg-type]
    assert found.tests(way) == pytest.approx(left_s / 4, abs=1.5)  # type: ignore[arg-type]
    found.saw_judged(way, 4000.0, 10)  # type: ignore[arg-type]
    assert found.tests(way) == 1  # type: ignore[arg-type]


def test_the_slow_are_tested_on_fewer_rows(tmp_path: Path) -> None:
    """Within 6 % of an hour, at a tenth of a second a row, but at least so many."""
    found, (way,) = budgeted(tmp_path, {"only": 1.0}, test=range(5000))
    assert found.tests(way) == pytest.approx(2160, abs=2)  # type: ignore[arg-type]
    (tmp_path / "short").mkdir()
    found, (way,) = budgeted(tmp_path / "short", {"only": 1.0}, test=range(5000), time="20s")
    assert found.tests(way) == timing._LEAST_TEST_ROWS  # type: ignore[arg-type]


@pytest.mark.parametrize(("time", "looked"), [("1h", None), ("10m", 16), ("2m", 20)])
def test_a_look_at_what_a_model_knows_is_cut_to_the_time(tmp_path: Path, time: str, looked: int | None) -> None:
    """All of it takes 90 s at a hundredth of a second a token; 3 % of the time are allowed, but twenty texts."""
    found, (way,) = budgeted(tmp_path, {"only": 1.0}, time=time)
    assert found.looked(way) == (max(looked, 20) if looked else None)  # type: ignore[arg-type]


def test_the_look_after_a_training_is_kept_as_long_as_the_look_before_it_took(tmp_path: Path) -> None:
    found, (way,) = budgeted(tmp_path, {"only": 10.0})
    given = found.allowance(way, [len(ROWS)], protocol=WHOLE_ROWS).time  # type: ignore[arg-type]
    found.saw_retention(way, timing._RETENTION_S["causal"] + 40)  # type: ignore[arg-type]
    slow = found.allowance(way, [len(ROWS)], protocol=WHOLE_ROWS).time  # type: ignore[arg-type]
    assert given is not None and slow is not None
    assert given - slow == pytest.approx(1.5 * 40, abs=1)
