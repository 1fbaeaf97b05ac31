"""What the rules advise, and where their borders lie."""

from __future__ import annotations

import math

import pytest

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import build, presets
from scrimp.planning.advice import Adviser, Situation
from scrimp.tuning.plan import TunePlan


@pytest.mark.parametrize("preset", presets("advice"), ids=lambda p: p.name)
@pytest.mark.parametrize("situation", [Situation(1e8, 50), Situation(7e9, 500, new_skill=True), Situation(1e11, 10**6)])
def test_every_rule_advises_what_can_be_tuned_and_says_why(preset, situation):
    method = preset.build()
    assert isinstance(method, Adviser)
    found = method.advise(situation)
    assert found.choice and found.why
    TunePlan.parse(found.options)


def test_a_prompt_is_advised_for_what_the_model_can_do_alone():
    rule = build("advice", "adapter-by-bytes")
    assert rule.advise(Situation(1e8, 100)).options == {"adapter": "prompt"}
    assert rule.advise(Situation(1e8, 100, new_skill=True)).options == {"adapter": "lora"}
    assert build("advice", "adapter-by-quality-and-cost").advise(Situation(1e8, 100)).choice == "lora"
    assert build("advice", "adapter-by-quality").advise(Situation(1e8, 100)).choice == "full"


def test_small_models_are_tuned_and_large_ones_shown():
    rule = build("advice", "tune-or-show", {"small": 10.0, "large": 100.0, "few": 1000})
    assert [rule.advise(Situation(size, rows)).choice for size, rows in
            [(10.0, 5), (11.0, 5), (99.0, 5), (100.0, 999), (100.0, 1000)]] == ["tune", "both", "both", "show", "both"]


def test_batches_grow_with_the_rows_to_a_largest():
    rule = build("advice", "small-model-tuning", {"updates": 10, "largest": 64})
    assert [rule.advise(Situation(1e9, rows)).options["batch_size"] for rows in (1, 9, 200, 10**6)] == [1, 1, 20, 64]


def test_a_high_loss_and_a_low_norm_early_on_promise_most():
    rule = build("advice", "small-model-tuning", {"early": 0.5})
    late = [9.0, 9.0]  # of the second half, which does not count
    losses = {"a": [1.0, 1.0, *late], "b": [2.0, 2.0, 0.0, 0.0], "c": [3.0, 3.0, 0.0, 0.0]}
    norms = {"a": [3.0, 3.0, 0.0, 0.0], "b": [2.0, 2.0, *late], "c": [1.0, 1.0, *late]}
    assert rule.promising(losses, norms) == ["c", "b", "a"]
    assert rule.promising({"a": [1.0], "b": [1.0]}, {"a": [1.0], "b": [1.0]}) == ["a", "b"]


@pytest.mark.parametrize(("losses", "norms"), [
    ({}, {}), ({"a": [1.0]}, {"b": [1.0]}), ({"a": []}, {"a": []}), ({"a": [math.nan]}, {"a": [1.0]})])
def test_runs_that_tell_nothing_are_refused(losses, norms):
    with pytest.raises(DataError):
        build("advice", "small-model-tuning").promising(losses, norms)


@pytest.mark.parametrize(("parameters", "rows"), [(0.0, 5), (math.inf, 5), (math.nan, 5), (1e6, 0)])
def test_a_situation_that_is_none_is_refused(parameters, rows):
    with pytest.raises(OptionError):
        Situation(parameters, rows)
