"""Comparisons: pairs by seed, intervals that hold together, fronts, and what the numbers speak for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.reports import compared as made

from scrimp.core.budget import Bill, Budget, Meter
from scrimp.core.errors import BudgetError, DataError, GuardError, OptionError
from scrimp.evaluation.statistics import t_interval
from scrimp.planning import peftresults
from scrimp.planning.comparison import compared, interval
from scrimp.planning.fronts import front
from scrimp.planning.racing import race
from scrimp.planning.tries import settings


def test_a_front_holds_what_nothing_beats() -> None:
    assert front([(1, 5), (2, 4), (2, 3), (0, 0), (2, 4)]) == [0, 1, 4]
    assert front([]) == []
    with pytest.raises(DataError, match="a number in every"):
        front([(1, math.nan)])
    with pytest.raises(DataError, match="same respects"):
        front([(1, 2), (1,)])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_every_point_is_beaten_by_one_of_the_front_or_on_it(points: list[tuple[int, ...]]) -> None:
    best = front(points)
    assert best
    for place, point in enumerate(points):
        beaten = any(all(a >= b for a, b in zip(points[i], point, strict=True)) and points[i] != point for i in best)
        assert beaten == (place not in best)


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.1, 0.3, 0.2, 0.25]
    assert interval(values) == pytest.approx(t_interval(values))
    assert interval([0.4]) is None
    assert interval([0.2, 0.2]) == (0.2, 0.2)


def test_the_interval_holds_the_truth_though_all_seeds_share_their_test_rows() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        rows = rng.normal(0, 1, 50)  # what these rows happen to say
        seeds = [float((rows + rng.normal(0, 0.3)).mean()) for _ in range(5)]
        low, high = interval(seeds, rows=(float(rows.var(ddof=1)) / 50, 50)) or (0, 0)
        held += low <= 0 <= high
    assert 930 <= held <= 985


def test_what_every_seed_says_alike_is_still_doubted_for_want_of_rows() -> None:
    found = made.record(made.arm("a", (0.6,) * 5), made.arm("b", (0.58,) * 5), rows=0.2)
    assert found.difference("a", "b").shown is False
    assert made.record(made.arm("a", (0.6,) * 5), made.arm("b", (0.58,) * 5), rows=0.001).difference("a", "b").shown


def test_differences_are_paired_by_seed() -> None:
    """Two arms that move together with the seed differ surely, though each spreads widely."""
    moving = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    found = made.record(made.arm("a", moving + 0.05), made.arm("b", moving), rows=0.001).difference("a", "b")
    assert found.value == pytest.approx(0.05)
    assert found.shown and found.seeds == 5
    turned = made.record(made.arm("a", moving + 0.05), made.arm("b", moving[::-1]), rows=0.001).difference("a", "b")
    assert not turned.shown


def test_only_seeds_that_both_finished_are_paired() -> None:
    found = made.record(made.arm("a", (0.6, 0.7, 0.8)), made.arm("b", (0.5, 0.6)))
    assert found.difference("a", "b").seeds == 2
    assert found.difference("b", "a").value == pytest.approx(-0.1)


def test_more_arms_make_wider_intervals() -> None:
    two = [made.arm("a", (0.6, 0.7, 0.75)), made.arm("b", (0.5, 0.63, 0.6))]
    narrow = made.record(*two).difference("a", "b")
    wide = made.record(*two, made.arm("untouched", (0.4, 0.4, 0.4))).difference("a", "b")
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_quickest_of_those_that_were_not_shown_to_be_worse_is_advised() -> None:
    assert made.shown().choice.advised == "good"
    assert made.shown().choice.equals == ()
    choice = made.equal().choice
    assert (choice.best, choice.advised, choice.equals) == ("one", "other", ("other",))


def test_one_seed_alone_does_not_lead() -> None:
    arms = [made.arm("lucky", (0.95,)), made.arm("steady", (0.8, 0.8, 0.81)), made.arm("untouched", (0.5,) * 3)]
    found = made.record(*arms)
    assert found.choice.best == "steady"


def test_fronts_are_of_quality_against_each_cost() -> None:
    fronts = made.shown().fronts
    assert set(fronts["time"]) == {"good", "poor", "word-counts"}  # the untouched model is slower and worse
    assert set(fronts) == {"retention", "time", "memory", "bytes", "all"}


def test_what_was_forgotten_is_left_out_where_it_cannot_be_compared() -> None:
    one, other = made.arm("a", (0.6, 0.7)), made.arm("b", (0.5, 0.6))
    blind = [t.model_copy(update={"rung": t.rung.model_copy(update={"retention": None})}) for t in other.trials]
    found = made.record(one, other.model_copy(update={"trials": tuple(blind)}))
    assert found.forgetting is None and "retention" not in found.fronts


def test_arms_on_other_rows_or_metrics_are_refused() -> None:
    one, other = made.arm("a", (0.6, 0.7)), made.arm("b", (0.5, 0.6))
    moved = tuple(t.model_copy(update={"tested": "elsewhere"}) for t in other.trials)
    with pytest.raises(DataError, match="different rows with seed 0"):
        made.record(one, other.model_copy(update={"trials": moved}))
    named = tuple(t.model_copy(update={"quality": t.quality.model_copy(update={"metric": "f1"})}) for t in other.trials)
    with pytest.raises(DataError, match="'b' by f1"):
        made.record(one, other.model_copy(update={"trials": named}))
    with pytest.raises(DataError, match="no arm finished"):
        compared([made.arm("a", (), failed={0: "no time"})], lambda *_: (0, 0), asked={}, seeds=(0, 1), tries=1,
                 bill=Bill())


# --- the race ---------------------------------------------------------------------------------------------------------

def test_all_arms_run_with_a_seed_before_the_next_one() -> None:
    ran: list[tuple[str, int]] = []
    race(["a", "b"], [0, 1], lambda *run: ran.append(run), meter=Meter(), limit_s=5, known=lambda *_: False)
    assert ran == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_no_run_begins_that_could_not_end_in_time() -> None:
    meter = Meter(Budget(time=100), Bill(wall_s=70))
    found = race(["a", "b"], [0], lambda name, _: name, meter=meter, limit_s=20, known=lambda name, _: name == "b")
    assert isinstance(found["a", 0], BudgetError)
    assert found["b", 0] == "b"  # finished earlier: it takes no time


@pytest.mark.parametrize("error", [BudgetError("late"), GuardError("NaN")])
def test_what_one_seed_fails_at_leaves_the_others(error: Exception) -> None:
    def run(name: str, seed: int) -> str:
        if seed == 0:
            raise error
        return name

    found = race(["a"], [0, 1], run, meter=Meter(), limit_s=None, known=lambda *_: False)
    assert found == {("a", 0): error, ("a", 1): "a"}


def test_what_every_seed_would_fail_at_ends_the_race() -> None:
    def run(name: str, seed: int) -> str:
        raise OptionError("unknown option")

    with pytest.raises(OptionError):
        race(["a"], [0, 1], run, meter=Meter(), limit_s=None, known=lambda *_: False)


# --- the search -------------------------------------------------------------------------------------------------------

def test_settings_are_all_combinations_then_other_learning_rates() -> None:
    options = {"adapter": "lora", "learning_rate": 1e-3}
    assert settings(options, {"rank": (2, 4)}, 2, seed=0, where="a") == [{"rank": 2}, {"rank": 4}]
    more = settings(options, {"rank": (2, 4)}, 5, seed=0, where="a")
    assert more[2:4] == [{"rank": 2, "learning_rate": 0.000333}, {"rank": 4, "learning_rate": 0.000333}]
    assert settings(options, {}, 3, seed=0, where="a") == [{}, {"learning_rate": 0.000333}, {"learning_rate": 0.003}]


def test_fewer_tries_than_settings_are_drawn_by_the_seed() -> None:
    grid = {"rank": (1, 2, 4, 8), "epochs": (1, 2, 3)}
    first = settings({}, grid, 4, seed=0, where="a")
    assert len({tuple(point.items()) for point in first}) == 4
    assert first == settings({}, grid, 4, seed=0, where="a") != settings({}, grid, 4, seed=1, where="a")


def test_settings_that_cannot_be_are_told() -> None:
    with pytest.raises(OptionError, match="there are 1 settings"):
        settings({}, {"learning_rate": (1e-3,)}, 2, seed=0, where="a")
    with pytest.raises(OptionError, match="'rank'"):
        settings({}, {"rank": ("many",)}, 1, seed=0, where="a")


# --- as PEFT reads it -------------------------------------------------------------------------------------------------

def test_each_run_has_every_field_that_pefts_comparison_reads() -> None:
    found = dict(peftresults.results(made.shown()))
    assert len(found) == 20
    for name, run in found.items():
        info, train, meta = run["run_info"], run["train_info"], run["meta_info"]
        assert info.keys() >= {"created_at", "total_time", "experiment_name", "peft_branch", "train_config",
                               "peft_config", "error_msg"}
        assert isinstance(info["train_config"]["model_id"], str)
        assert info["peft_config"]["peft_type"] == ("LORA" if name.startswith(("good", "poor")) else
                                                    name.partition("--")[0].upper())
        assert train["status"] == "success"
        for field in ("accelerator_memory_reserved_avg", "accelerator_memory_max", "accelerator_memory_reserved_99th",
                      "file_size", "num_trainable_params"):
            assert isinstance(train[field], int)
        assert isinstance(train["train_time"], float)
        last = train["metrics"][-1]
        assert last.keys() >= {"test accuracy", "train loss", "train samples", "train total tokens"}
        for package in ("peft", "transformers", "datasets", "torch", "bitsandbytes"):
            assert f"{package}-version" in meta["package_info"]
        assert meta["system_info"]["machine"]


def test_full_tuning_has_no_adapter_and_a_failed_run_says_so() -> None:
    one = made.arm("all", (0.6,))
    full = one.trials[0].model_copy(update={"adapter": None, "rung": one.trials[0].rung.model_copy(
        update={"name": "full"})})
    found = dict(peftresults.results(made.record(one.model_copy(update={"trials": (full,), "failed": {1: "late"}}))))
    assert found["all--seed-0"]["run_info"]["peft_config"] is None
    assert found["all--seed-1"]["train_info"]["status"] == "failed"
