"""A run of a comparison in a process of its own: it is measured, fails as it would here, and stops when it is asked."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path

import pytest

import scrimp
from scrimp.core import interrupts
from scrimp.core.errors import DataError, Stopped
from scrimp.recipes.arms import load_arms
from scrimp.recipes.calls import Call
from scrimp.verbs import alone

ROWS = [{"text": f"a {('good', 'bad')[n % 2]} film, number {n}", "label": ("positive", "negative")[n % 2]}
        for n in range(24)]


@pytest.fixture
def place(tmp_path: Path, causal_folder: Path, encoder_folder: Path) -> Path:
    for name, rows in (("train", ROWS[:16]), ("test", ROWS[16:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    head = f"model: {causal_folder}\ndata: {{train: train.jsonl, test: test.jsonl}}\nsteps:\n"
    (tmp_path / "a.yaml").write_text(f"{head}  - tune: {{rank: 2}}\n")
    (tmp_path / "b.yaml").write_text(f"{head}  - select: {{keep: 50%, method: random}}\n"
                                     f"  - tune: {{rank: 4, steps: 2}}\nencoder: {encoder_folder}\n")
    return tmp_path


def test_a_run_in_a_process_of_its_own_learns_and_is_measured(place: Path) -> None:
    arm = load_arms([place / "b.yaml"])[0]
    folder = place / "step"
    calls = arm.calls(0, scrimp.Budget(time=120.0), place / "run")
    for call in calls:
        call.options["workspace"] = str(folder / "space")
    alone.run(folder, calls)
    answer = json.loads((folder / alone.ANSWER).read_text())
    assert 4 <= answer["trial"]["train_rows"] <= 8  # of the half that was selected, those that are not in the test
    assert len(answer["said"]) == len(answer["rows"]) == 8
    assert answer["trial"]["bill"]["wall_s"] < answer["trial"]["spent"]["wall_s"]
    assert (place / "run" / "model" / "adapter_config.json").exists()
    assert answer["trial"]["adapter"]["peft_type"] == "LORA"


def test_what_goes_wrong_in_the_process_is_told_as_here(place: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        alone.run(place / "step", [Call("tune", {"data": "nowhere.jsonl", "out": "o", "workspace": str(place / "w")})])


def test_a_run_stops_when_it_is_asked_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = load_arms([place / "a.yaml"])[0].tuned({"steps": 10**6})
    calls = arm.calls(0, scrimp.Budget(), place / "run")
    calls[0].options["workspace"] = str(place / "space")

    def ask() -> None:
        while not begun():
            time.sleep(0.05)
        interrupts._requested.set()

    def begun() -> bool:
        with contextlib.suppress(OSError):  # something is being replaced
            return bool(list((place / "space").rglob("ledger.jsonl")))
        return False

    threading.Thread(target=ask, daemon=True).start()
    try:
        with pytest.raises(Stopped):
            alone.run(place / "step", calls)
    finally:
        interrupts._requested.clear()
