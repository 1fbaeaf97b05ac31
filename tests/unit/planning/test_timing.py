"""What is foreseen of a run, from what was measured at its beginning."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError
from scrimp.planning import timing
from scrimp.planning.costs import Probe
from scrimp.planning.protocol import Protocol
from scrimp.planning.timing import WHOLE, Timing

ROWS = tuple(range(40))
MIB = 1 << 20


def standing(folder: Path, name: str = "tiny", row_s: float = 0.1) -> SimpleNamespace:
    """A base model of which it is known how long a row takes."""
    (folder / f"row-seconds-{name}.json").write_text(str(row_s))
    return SimpleNamespace(checkpoint=SimpleNamespace(fingerprint=name), causal=True)


def foreseen(folder: Path, *kinds: str, quantized: bool = False, mapped: int = 0) -> timing.Forecast:
    """Of a run whose rows take a tenth of a second, and ten tokens each of a MiB each; its model rests in a GiB."""
    folder.mkdir()
    base = standing(folder)
    run = SimpleNamespace(folder=folder, test=None, train=ROWS, meter=Meter(Budget(time="1h")),
                          ledger=SimpleNamespace(write=lambda *_, **__: None))
    tuned = SimpleNamespace(name="adapted", tokens=lambda _: 4000, step_tokens=lambda _: 80, batch_tokens=lambda _: 80,
                            base=SimpleNamespace(mapped=mapped))
    ways = [SimpleNamespace(kind=kind, name=kind, quantized=quantized and kind == "adapted", base=base)
            for kind in kinds]
    found = Timing(run, ways)  # type: ignore[arg-type]
    found._saw(tuned, Probe(tokens_per_s=100.0, resting_memory=1024 * MIB, fixed_memory=8 * MIB,  # type: ignore[arg-type]
                            memory_per_token=float(MIB)))
    found.foresee(Protocol(((ROWS, ()),), refit=False, words="nothing"))
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


def budgeted(folder: Path, row_s: dict[str, float], rows: tuple[int, ...] = ROWS,
             **budget: Any) -> tuple[Timing, list[SimpleNamespace]]:
    """Tuned ways over one model, of which it is known what they take for a row; in no order."""
    run = SimpleNamespace(folder=folder, test=None, train=rows, meter=Meter(Budget(time=budget.pop("time", "1h"))),
                          request=SimpleNamespace(budget=Budget(**budget), seed=0))
    base = standing(folder)
    ways = [SimpleNamespace(kind="adapted", name=name, quantized=False, base=base) for name in row_s]
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


def test_the_dearest_way_is_left_out_where_few_rows_are_not_folded_with_it(tmp_path: Path, monkeypatch: Any) -> None:
    def choose(train: Any, *, seconds: Any, left_s: float, judge_s: float, seed: int) -> Protocol:
        return Protocol(((ROWS[:20], ROWS[20:]), (ROWS[20:], ROWS[:20])), seconds(40) < left_s, "two folds")

    monkeypatch.setattr(timing, "choose", choose)
    found, ways = budgeted(tmp_path, {"large": 1000.0, "small": 20.0})
    protocol = found.protocol()
    assert protocol.refit
    with pytest.raises(BudgetError, match="its 3 trainings would take about 80000 s"):
        found.require(ways[0], protocol)  # type: ignore[arg-type]
    found.require(ways[1], protocol)  # type: ignore[arg-type]
    assert found.allowance(ways[1], [40, 20, 20], protocol=protocol).time is not None  # type: ignore[arg-type]


def test_of_many_rows_a_part_is_held_out_and_no_way_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    def choose(train: Any, *, seconds: Any, left_s: float, judge_s: float, seed: int) -> Protocol:
        return Protocol(((ROWS[:20], ROWS[20:]),), seconds(40) < left_s, "held out")

    monkeypatch.setattr(timing, "choose", choose)
    found, ways = budgeted(tmp_path, {"large": 1000.0, "small": 20.0}, rows=tuple(range(1000)))
    for way in ways:
        found.require(way, found.protocol())  # type: ignore[arg-type]


def test_the_look_after_a_training_is_kept_as_long_as_the_look_before_it_took(tmp_path: Path) -> None:
    found, (way,) = budgeted(tmp_path, {"only": 10.0})
    given = found.allowance(way, [len(ROWS)], protocol=WHOLE_ROWS).time  # type: ignore[arg-type]
    found.saw_retention(way, timing._RETENTION_S["causal"] + 40)  # type: ignore[arg-type]
    slow = found.allowance(way, [len(ROWS)], protocol=WHOLE_ROWS).time  # type: ignore[arg-type]
    assert given is not None and slow is not None
    assert given - slow == pytest.approx(1.5 * 40, abs=1)
