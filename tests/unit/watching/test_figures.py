"""What is drawn of runs is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unit.reports import sample
from unit.watching.workspaces import finished

from scrimp.core.budget import Bill
from scrimp.evaluation.outcome import Outcome
from scrimp.watching import figures
from scrimp.watching.runs import Followed, Spot, follow


def run(tmp_path: Path, outcome: Outcome, **rest: Any) -> Followed:
    found = follow(tmp_path, finished(tmp_path, outcome, **rest))
    assert found is not None
    return found


def test_a_line_for_each_training_with_a_point_for_each_step_measured() -> None:
    spots = {"lora/1 of 3": (Spot(1, 0.0, 2.0, None), Spot(2, 1.0, 1.5, None), Spot(2, 1.0, None, 0.75)),
             "full/whole": (Spot(5, 0.0, None, 0.5),)}
    drawn = figures.live_curves(spots, "loss")
    assert [(one["name"], one["data"]) for one in drawn["series"]] == [("lora/1 of 3", [[1, 2.0], [2, 1.5]])]
    judged = figures.live_curves(spots, "validation")
    assert [one["data"] for one in judged["series"]] == [[[2, 0.75]], [[5, 0.5]]]


def test_a_long_line_is_thinned_and_keeps_its_ends() -> None:
    spots = {"lora/whole": [Spot(step, float(step), 1 / step, None) for step in range(1, 10_001)]}
    (line,) = figures.live_curves(spots, "loss")["series"]
    assert len(line["data"]) <= 2001
    assert line["data"][0] == [1, 1.0] and line["data"][-1] == [10_000, 1e-4]


def test_scores_stand_at_their_values_over_their_intervals() -> None:
    drawn = figures.scores({"one": sample.accuracy(0.5, 30), "two": sample.accuracy(0.75, 400)})
    assert drawn["yAxis"]["data"] == ["two, 400 rows", "one, 30 rows"]  # the first on top
    lines, spots = drawn["series"]
    assert spots["data"] == [[0.75, 0], [0.5, 1]]
    assert lines["data"][1]["coords"] == [[sample.accuracy(0.5, 30).low, 1], [sample.accuracy(0.5, 30).high, 1]]


@pytest.mark.parametrize("cost", list(figures.COSTS))
def test_the_front_holds_what_no_way_beats(tmp_path: Path, cost: Any) -> None:
    outcome = sample.classification()
    drawn = figures.pareto({"one": run(tmp_path, outcome)}, cost)
    front, ways = drawn["series"]
    spots = [spot["value"] for spot in ways["data"]]
    assert len(spots) == sum(bool(rung.test) for rung in outcome.rungs if rung.skipped is None)
    beaten = [[x, y] for x, y in spots
              if any(a <= x and b >= y and (a, b) != (x, y) for a, b in spots)]
    assert sorted(front["data"]) == sorted(spot for spot in spots if spot not in beaten)


def test_bills_are_parted_as_the_record_parts_them(tmp_path: Path) -> None:
    one = sample.classification().model_copy(update={"parts": {"reading": Bill(wall_s=1.0), "lora": Bill(wall_s=5.0)}})
    two = sample.generation().model_copy(update={"parts": {"lora": Bill(wall_s=2.0)}})
    drawn = figures.bills({"one": run(tmp_path, one), "two": run(tmp_path, two)})
    assert drawn["yAxis"]["data"] == ["two", "one"]
    assert {part["name"]: part["data"] for part in drawn["series"]} == {"reading": [0, 1.0], "lora": [2.0, 5.0]}


def test_curves_of_finished_runs_are_by_step_or_by_seconds(tmp_path: Path) -> None:
    found = run(tmp_path, sample.classification())
    rung = next(rung for rung in found.rungs if rung.curve)
    by_step, by_time = (figures.curves({"one": found}, by)["series"][0] for by in ("step", "seconds"))
    assert by_step["name"] == f"one: {rung.title}"
    assert by_step["data"][-1] == [rung.curve[-1].step, rung.curve[-1].loss]
    assert by_time["data"][-1] == [rung.curve[-1].seconds, rung.curve[-1].loss]


def test_no_figure_holds_code_whatever_a_run_is_called(tmp_path: Path) -> None:
    found = run(tmp_path, sample.hostile())
    for drawn in (figures.pareto({sample.NASTY: found}, "seconds"), figures.bills({sample.NASTY: found}),
                  figures.curves({sample.NASTY: found}, "step"),
                  figures.live_curves(figures.trained(found.rungs, "loss"), "loss")):
        json.dumps(drawn, ensure_ascii=False).encode()  # as it is sent
        assert drawn["tooltip"]["renderMode"] == "richText"  # not as HTML
        assert not any(key.startswith(":") for key in _keys(drawn))  # NiceGUI runs what stands under such a key


def _keys(thing: Any) -> list[str]:
    if isinstance(thing, dict):
        return [*thing, *(key for value in thing.values() for key in _keys(value))]
    return [key for value in thing for key in _keys(value)] if isinstance(thing, list) else []
