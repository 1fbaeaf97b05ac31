"""How ways with options are compared: what is tuned where, and who reaches a target first."""

from __future__ import annotations

import math

import pytest

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import build, presets
from scrimp.planning.protocols import Protocol

SETTINGS = {"fast": [{"rate": 1.0}, {"rate": 2.0}], "slow": [{"rate": 1.0}, {"rate": 2.0}]}


def climbing(way, setting, workload, seed):
    """Each unit of cost brings a unit of score, half as much to the slow way, and twice as much at the higher rate."""
    speed = setting["rate"] * (1.0 if way == "fast" else 0.5)
    return [(cost, cost * speed) for cost in (1.0, 2.0, 4.0, 8.0)]


@pytest.mark.parametrize("preset", presets("protocol"), ids=lambda p: p.name)
class TestEvery:
    def method(self, preset) -> Protocol:
        made = preset.build()
        assert isinstance(made, Protocol)
        return made

    def test_the_better_way_comes_first_with_its_better_setting(self, preset):
        found = self.method(preset).judge(climbing, SETTINGS, ["a", "b", "c"], seeds=[0, 1])
        assert found.order == ["fast", "slow"]
        assert found.scores["fast"] > found.scores["slow"]
        assert all(setting == {"rate": 2.0} for setting in found.chosen["fast"].values())

    def test_unequal_tuning_is_refused(self, preset):
        for settings in ({}, {"fast": []}, {"fast": SETTINGS["fast"], "slow": [{"rate": 1.0}]}):
            with pytest.raises(OptionError, match="as many settings"):
                self.method(preset).judge(climbing, settings, ["a", "b"], seeds=[0])

    def test_workloads_and_seeds_are_needed(self, preset):
        for workloads, seeds in (([], [0]), (["a", "a"], [0]), (["a", "b"], [])):
            with pytest.raises(OptionError, match="workloads"):
                self.method(preset).judge(climbing, SETTINGS, workloads, seeds=seeds)

    @pytest.mark.parametrize("curve", [[], [(1.0, math.nan)], [(math.inf, 1.0)]])
    def test_runs_without_numbers_are_refused(self, preset, curve):
        with pytest.raises(DataError, match="finite"):
            self.method(preset).judge(lambda *_: curve, SETTINGS, ["a", "b"], seeds=[0])


def moody(way, setting, workload, seed):
    """On a the one setting is best, on b the other."""
    return [(1.0, 0.9 if (setting["rate"] == 1.0) == (workload == "a") else 0.5)]


def test_what_is_tuned_elsewhere_keeps_its_setting_and_what_is_tuned_in_place_looks_better():
    ways = {"one": SETTINGS["fast"]}
    elsewhere, in_place = (build("protocol", name).judge(moody, ways, ["a", "b"], seeds=[0])
                           for name in ("tuned-elsewhere", "tuned-in-place"))
    assert elsewhere.chosen == {"one": {"b": {"rate": 1.0}}}
    assert elsewhere.scores["one"] == pytest.approx(0.5)
    assert in_place.scores["one"] == pytest.approx(0.9)
    with pytest.raises(OptionError, match="2 different workloads"):
        build("protocol", "tuned-elsewhere").judge(moody, ways, ["a"], seeds=[0])


def test_a_profile_falls_with_the_time_to_the_target():
    race = build("protocol", "time-to-target", {"targets": {"a": 4.0, "b": 4.0}, "most": 5.0})
    found = race.judge(climbing, SETTINGS, ["a", "b"], seeds=[0])
    assert found.reached == {"fast": {"a": 2.0, "b": 2.0}, "slow": {"a": 4.0, "b": 4.0}}
    assert found.scores == {"fast": pytest.approx(1.0), "slow": pytest.approx(0.75)}  # at twice the time, of 1 to 5


def test_a_target_that_nobody_reaches_is_worth_nothing():
    race = build("protocol", "time-to-target", {"targets": {"a": 100.0}})
    found = race.judge(climbing, SETTINGS, ["a"], seeds=[0])
    assert found.scores == {"fast": 0.0, "slow": 0.0}
    assert found.reached["fast"]["a"] == math.inf


def test_without_targets_half_of_the_ways_reach_it():
    found = build("protocol", "time-to-target").judge(climbing, SETTINGS, ["a"], seeds=[0])
    assert found.reached["fast"]["a"] == 8.0 and found.reached["slow"]["a"] == math.inf
