"""Twenty SIGKILLs at random moments, each followed by the same command, end in the weights of an unbroken run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 20
ROWS = [{"text": f"{'what a good film' if i % 2 else 'what a bad film'} number {i} {i * 37 % 11}",
         "label": "positive" if i % 2 else "negative"} for i in range(24)]
TUNING = ["--adapter", "lora", "--rank", "2", "--steps", "400", "--batch-size", "4", "--learning-rate", "1e-3",
          "--checkpoint-every-steps", "10"]


def command(folder: Path, model: Path, name: str) -> list[str]:
    return [sys.executable, "-m", "scrimp", "tune", str(folder / "train.jsonl"), "--model", str(model),
            "--out", str(folder / name), "--workspace", str(folder / f"space-{name}"), *TUNING]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "SCRIMP_CACHE": str(folder / "cache")}


def weights(run: Path) -> bytes:
    return (run / "model" / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_end_in_the_weights_of_an_unbroken_run(tmp_path, causal_folder):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    start = time.monotonic()
    subprocess.run(command(tmp_path, causal_folder, "whole"), env=environment(tmp_path), check=True, capture_output=True)
    unbroken_s = time.monotonic() - start
    moments, killed = random.Random(0), 0
    for _ in range(20 * KILLS):
        run = subprocess.Popen(command(tmp_path, causal_folder, "killed"), env=environment(tmp_path),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            output, _ = run.communicate(timeout=None if killed == KILLS else moments.uniform(0.3, 1.0) * unbroken_s)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            killed += 1
            assert not (tmp_path / "killed" / "scores.json").exists(), "a killed run left a result"
            continue
        assert run.returncode == 0, output.decode()
        if killed == KILLS:
            break
        pytest.fail(f"the run finished after {killed} kills; it must be longer for {KILLS}")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    again = subprocess.run(command(tmp_path, causal_folder, "killed"), env=environment(tmp_path), check=True,
                           capture_output=True)
    assert b"Traceback" not in again.stderr
