"""Each tracker's real client, in a process of its own: what it was told is read back."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

TOLD = """
import sys
from pathlib import Path
from unit.reports.sample import classification
from scrimp.core.listeners import tell, within
from scrimp.reports.tracking import tracked
from scrimp.verbs import Fit

name, out = sys.argv[1], Path(sys.argv[2])
with tracked([name], Fit.parse({"data": str(out.parent / "a.csv"), "out": out, "track": name})) as done:
    for training in ("lora/shipped", "lora/part-0"):
        with within(training):
            for step in range(1, 4):
                tell(step, loss=1.0 / step, learning_rate=0.1, tokens_per_second=100.0)
    done(classification())
"""


def told(name: str, home: Path, **variables: str) -> Path:
    """The run's folder, after the tracker was told a run of two trainings of three steps."""
    out = home / "someones-own" / "run"
    out.parent.mkdir()
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests), *filter(None, sys.path)])
    made = {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", "SECRET_KEY": "never-to-be-told", **variables}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "MLFLOW", "TRACKIO"))}
    done = subprocess.run([sys.executable, "-c", TOLD, name, str(out)], env={**kept, **made}, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "is told no more" not in done.stderr, done.stderr
    assert done.stdout == ""
    return out


def expected() -> tuple[str, float]:
    """One of the final scores."""
    from unit.reports.sample import classification

    best = classification().best
    return f"{best.name}/test/{best.test[0].metric}/low", best.test[0].low


def test_mlflow(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    out = told("mlflow", tmp_path)
    client = MlflowClient(tracking_uri=f"sqlite:///{out / 'tracking' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("scrimp").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "lora/part-0/loss")] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    name, value = expected()
    assert run.data.metrics[name] == value
    assert run.data.params["data"] == "a.csv" and run.data.params["budget.time"] == "600.0"
    assert "never-to-be-told" not in str(run.data) and "someones-own" not in str(run.data)


def test_trackio(tmp_path: Path) -> None:
    told("trackio", tmp_path, TRACKIO_DIR=str(tmp_path / "store"))
    read = ("import json, sys; from trackio.sqlite_storage import SQLiteStorage as S; "
            "print(json.dumps([S.get_logs('scrimp', 'run'), S.get_run_config('scrimp', 'run')], default=str))")
    said = subprocess.run([sys.executable, "-c", read], env={**os.environ, "TRACKIO_DIR": str(tmp_path / "store")},
                          capture_output=True, text=True, check=True).stdout
    logs, config = json.loads(said.splitlines()[-1])
    assert [(one["step"], one["lora/shipped/loss"]) for one in logs if "lora/shipped/loss" in one] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    name, value = expected()
    assert [one[name] for one in logs if name in one] == [value]
    assert config["data"] == "a.csv"
    assert "never-to-be-told" not in said and "someones-own" not in said


def records(path: Path) -> Iterator[Any]:
    """What is in a file that wandb left behind without a network: a log in blocks of 32 KiB, as LevelDB writes it."""
    from wandb.proto import wandb_internal_pb2

    held, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(held):
        if (1 << 15) - at % (1 << 15) < 7:
            at += (1 << 15) - at % (1 << 15)
            continue
        _, size, kind = struct.unpack("<IHB", held[at:at + 7])
        whole += held[at + 7:at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def test_wandb_without_a_network(tmp_path: Path) -> None:
    out = told("wandb", tmp_path, WANDB_MODE="offline")
    (path,) = (out / "tracking").rglob("*.wandb")
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            history.append({item.key or item.nested_key[0]: json.loads(item.value_json)
                            for item in record.history.item})
        for item in record.summary.update if kind == "summary" else ():
            summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
        for item in record.run.config.update if kind == "run" else ():
            config[item.key] = json.loads(item.value_json)
    assert [one["lora/shipped/loss"] for one in history if "lora/shipped/loss" in one] == [
        1.0, 0.5, pytest.approx(1 / 3)]
    name, value = expected()
    assert summary[name] == value
    assert config["data"] == "a.csv"
    held = b"".join(file.read_bytes() for file in path.parent.rglob("*") if file.is_file())
    assert b"never-to-be-told" not in held
    assert b"someones-own/a.csv" not in path.read_bytes()
