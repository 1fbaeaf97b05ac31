"""What is foreseen of a run, from what was measured at its beginning."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from scrimp.core.budget import Budget, Meter
from scrimp.planning import timing
from scrimp.planning.costs import Probe
from scrimp.planning.protocol import Protocol
from scrimp.planning.timing import WHOLE, Timing

ROWS = tuple(range(40))
MIB = 1 << 20


def foreseen(folder: Path, *kinds: str, quantized: bool = False, mapped: int = 0) -> timing.Forecast:
    """Of a run whose rows take a tenth of a second, and ten tokens each of a MiB each; its model rests in a GiB."""
    folder.mkdir()
    (folder / "row-seconds.json").write_text("0.1")
    run = SimpleNamespace(folder=folder, test=None, train=ROWS, meter=Meter(Budget(time="1h")),
                          ledger=SimpleNamespace(write=lambda *_, **__: None))
    tuned = SimpleNamespace(name="adapted", tokens=lambda _: 4000, step_tokens=lambda _: 80, batch_tokens=lambda _: 80,
                            base=SimpleNamespace(mapped=mapped))
    ways = [SimpleNamespace(kind=kind, name=kind, quantized=quantized and kind == "adapted") for kind in kinds]
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


def test_a_tuned_way_leaves_those_that_follow_their_share(tmp_path: Path) -> None:
    (tmp_path / "row-seconds.json").write_text("0.1")
    run = SimpleNamespace(folder=tmp_path, test=None, train=ROWS, meter=Meter(Budget(time="1h")),
                          request=SimpleNamespace(budget=Budget(tokens=8000)))
    ways = [SimpleNamespace(kind="adapted", name=name, quantized=False) for name in ("small", "large")]
    found, protocol = Timing(run, ways), Protocol(((ROWS, ()),), refit=False, words="nothing")  # type: ignore[arg-type]
    found._paces = {"small": timing.Pace(row_s=1.0), "large": timing.Pace(row_s=3.0)}
    first, last = (found.allowance(way, [len(ROWS)], protocol=protocol) for way in ways)  # type: ignore[arg-type]
    assert first.tokens == 2000 and last.tokens == 8000  # a quarter of what there is, and then all of it
    assert first.time is not None and last.time is not None
    kept_s = 3600 - last.time  # for what comes after the last
    assert first.time == pytest.approx((last.time - (kept_s - found.closing_s)) / 4, abs=1)
