"""A training whose mixture follows its losses is killed, and ends in the weights of an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STEPS = 120
ROWS = [{"text": f"what a {'good' if i % 2 else 'bad'} film number {i} {i * 37 % 11}", "kind": "abc"[i % 7 % 3],
         "label": "positive" if i % 2 else "negative"} for i in range(36)]


def start(folder: Path, model: Path, name: str) -> subprocess.Popen[bytes]:
    """``scrimp tune`` in a process of its own, in a workspace of its own."""
    options = {"test": "test.jsonl", "model": str(model), "out": name, "workspace": f"space-{name}",
               "sampling": "mixture", "domain": "kind", "mixing": "skill-it",
               "mixing-options": "{rate: 2.0, looks: 20}", "probes": "2", "steps": str(STEPS), "batch-size": "4",
               "learning-rate": "1e-3", "rank": "2", "checkpoint-every-steps": "5"}
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "SCRIMP_CACHE": str(folder / "cache")}
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "scrimp", "tune", "train.jsonl",
                                 *(word for key, value in options.items() for word in (f"--{key}", value))],
                                cwd=folder, env=env, stdout=log, stderr=log)


def looks(space: Path) -> int:
    """How often the feed had asked the model when the last checkpoint was written; 0 before there is one."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    found = 0
    try:
        for path in space.rglob("*.safetensors"):
            tensors = load(path.read_bytes())
            found = max([found, *(len(tensor) for name, tensor in tensors.items() if name.endswith("looks"))])
    except (OSError, SafetensorError):  # something is being replaced
        pass
    return found


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, causal_folder: Path) -> None:
    for name, rows in (("train", ROWS), ("test", [{**row, "text": f"{row['text']}, told by {n}"}
                                                  for n, row in enumerate(ROWS[:4], 100)])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole, broken = start(tmp_path, causal_folder, "whole"), start(tmp_path, causal_folder, "broken")
    deadline = time.monotonic() + 240
    while looks(tmp_path / "space-broken") < 2 and broken.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    assert broken.wait() == -signal.SIGKILL, "it was over before it was killed: give it more steps"
    assert not (tmp_path / "broken" / "scores.json").exists()
    again = start(tmp_path, causal_folder, "broken")
    for run, name in ((whole, "whole"), (again, "broken")):
        assert run.wait(timeout=240) == 0, (tmp_path / f"{name}.log").read_text()
    events = [json.loads(line) for line in (tmp_path / "broken" / "ledger.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("attempt") == 2
    adapters = [(tmp_path / name / "model" / "adapter_model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert adapters[0] == adapters[1]
