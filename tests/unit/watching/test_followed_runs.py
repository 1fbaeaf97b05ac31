"""What is read of a workspace's runs, whatever its files hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from unit.reports import sample
from unit.watching.workspaces import ASKED, begun, finished

from scrimp.core.errors import WorkspaceError
from scrimp.core.ledger import Ledger, attempted_s
from scrimp.core.listeners import Written, listening, tell, within
from scrimp.watching import pages
from scrimp.watching.runs import Spot, Tried, follow, listed, same_rows


def test_all_runs_and_only_runs_are_listed_the_latest_first(tmp_path: Path) -> None:
    first = finished(tmp_path, sample.classification())
    begun(tmp_path)
    (tmp_path / "embeddings-7").mkdir()
    (tmp_path / "fit-notes.txt").write_text("no folder")
    found = listed(tmp_path)
    assert [(run.name, run.kind, run.state) for run in found] == [
        ("tune-0123", "tune", "interrupted"), (first, "fit", "finished")]
    assert found[0].title == "reviews.csv" and found[0].limit_s == 60 and found[0].asked == ASKED
    assert found[1].outcome == sample.classification().model_copy(update={"asked": {**ASKED, "metric": "accuracy"}})
    assert found[1].rungs[0].name == found[1].outcome.winner


def test_a_workspace_that_does_not_exist_holds_no_run_and_is_not_made(tmp_path: Path) -> None:
    assert listed(tmp_path / "none") == []
    assert follow(tmp_path / "none", "fit-1") is None
    assert not (tmp_path / "none").exists()


def test_a_run_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    begun(tmp_path)
    with FileLock(tmp_path / ".tune-0123.lock"):
        assert follow(tmp_path, "tune-0123").state == "running"
    assert follow(tmp_path, "tune-0123").state == "interrupted"


@pytest.mark.parametrize("name", ["../tune-0123", "tune-0123.partial", "embeddings-7", "", "tune"])
def test_a_name_that_is_not_listed_is_no_run(tmp_path: Path, name: str) -> None:
    begun(tmp_path)
    (tmp_path / "embeddings-7").mkdir()
    assert follow(tmp_path, name) is None


def test_curves_and_ways_are_those_of_the_ledger(tmp_path: Path) -> None:
    ledger = begun(tmp_path)
    ledger.write("foreseen", **{"lora": {"wall_s": 9.0}, "full": {"wall_s": 30.0}, "the whole run": {"wall_s": 50.0}})
    ledger.write("trying", name="words", title="Word counts")
    ledger.write("rung", name="words", wall_s=1.5)
    ledger.write("trying", name="lora", title="LoRA")
    for step, loss in ((1, 3.0), (2, 2.5), (3, 2.25), (2, 2.4)):  # the third was lost with a kill
        ledger.write("step", training="lora/whole", step=step, loss=loss)
    ledger.write("step", training="lora/whole", step=2, validation=2.75)
    run = follow(tmp_path, "tune-0123")
    assert run.tried == (Tried("words", "Word counts", 1.5, None, True), Tried("lora", "LoRA", None, 9.0, True),
                         Tried("full", "full", None, 30.0, False))
    spots = run.curves["lora/whole"]
    assert [(spot.step, spot.loss, spot.validation) for spot in spots] == [
        (1, 3.0, None), (2, 2.5, None), (2, 2.4, None), (2, None, 2.75)]
    assert isinstance(spots[0], Spot) and spots[0].seconds == 0


def test_a_ledger_of_anything_is_read_and_believed_in_nothing(tmp_path: Path) -> None:
    ledger = begun(tmp_path, data=7, budget="much")
    with ledger.path.open("a") as file:
        file.write('{"event": "step", "step": true, "at": "noon", "training": []}\n[1]\n{"event": "rung"}\n{"at"')
        file.write('\n{"event": "step", "step": 1, "at": NaN}\n{"at": {}}\n{"event": "foreseen", "lora": [1]}\n')
    run = follow(tmp_path, "tune-0123")
    assert run.title == "rows given in Python" and run.limit_s is None and not run.curves
    assert 0 <= run.seconds < 60
    assert [pages._moment(event.get("at")) for event in run.events][1:] == ["", "", "", "", ""]
    assert [way.name for way in run.tried] == ["None"]


def test_a_record_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    name = finished(tmp_path, sample.classification())
    (tmp_path / name / "scores.json").write_text('{"format": 1}')
    run = follow(tmp_path, name)
    assert run.state == "damaged" and run.outcome is None and "scores.json" in run.problem


def test_a_record_that_changed_is_read_again(tmp_path: Path) -> None:
    name = finished(tmp_path, sample.classification())
    assert follow(tmp_path, name).outcome.winner == sample.classification().winner
    other = sample.generation().model_copy(update={"asked": ASKED})
    other.save(tmp_path / name / "scores.json")
    assert follow(tmp_path, name).outcome == other


def test_scores_are_set_beside_each_other_only_of_the_same_rows(tmp_path: Path) -> None:
    made = {
        "one": finished(tmp_path, sample.classification()),
        "two": finished(tmp_path, sample.generation()),
        "other rows": finished(tmp_path, sample.classification(), test="other"),
        "other metric": finished(tmp_path, sample.classification(), metric="macro_f1", seed=9),
        "held out": finished(tmp_path, sample.classification(), test=None),
        "held out by another seed": finished(tmp_path, sample.classification(), test=None, seed=1),
        "held out too": finished(tmp_path, sample.generation(), test=None)}
    names = {name: label for label, name in made.items()}
    groups = same_rows(listed(tmp_path))
    assert {frozenset(names[run.name] for run in group) for group in groups} == {
        frozenset({"one", "two"}), frozenset({"other rows"}), frozenset({"other metric"}),
        frozenset({"held out", "held out too"}), frozenset({"held out by another seed"})}


def test_no_workspace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").write_text('{"format": 99}')
    (tmp_path / "fit-1").mkdir()
    with pytest.raises(WorkspaceError, match="format 99"):
        listed(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_that_cannot_be_written_can_be_read(tmp_path: Path) -> None:
    begun(tmp_path)
    tmp_path.chmod(0o555)
    try:
        assert follow(tmp_path, "tune-0123").state == "interrupted"
    finally:
        tmp_path.chmod(0o755)


def test_attempts_are_summed_without_the_time_between_them() -> None:
    events = [{"event": "attempt", "at": 10.0}, {"event": "step", "at": 14.0}, {"event": "attempt", "at": 100.0},
              {"event": "rung", "at": 103.0}, {"event": "rung", "at": "later"},
              {"at": 103.0}, {"event": "rung", "at": float("nan")}, {"event": "rung", "at": float("inf")}]
    assert attempted_s(events) == 7.0
    assert attempted_s([]) == 0.0


def test_steps_are_written_once_in_a_while_and_validations_always(tmp_path: Path) -> None:
    heard: list[int] = []
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with listening(lambda training, step, numbers: heard.append(step)), \
            listening(Written(ledger, every_s=3600)), within("lora/whole"):
        for step in range(1, 5):
            tell(step, loss=float(step))
        tell(4, validation=0.5)
    tell(5, loss=0.0)
    assert heard == [1, 2, 3, 4, 4]  # who listens around it hears as well
    events = [{name: event[name] for name in event if name != "at"} for event in ledger.read()]
    assert events == [{"event": "step", "training": "lora/whole", "step": 1, "loss": 1.0},
                      {"event": "step", "training": "lora/whole", "step": 4, "validation": 0.5}]


def test_a_ledger_that_cannot_be_written_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with listening(Written(Ledger(tmp_path / "file" / "ledger.jsonl"))), within("lora/whole"):
        tell(1, loss=1.0)


def test_reading_runs_loads_no_torch() -> None:
    code = "import sys, scrimp.watching.runs, scrimp.watching.figures; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
