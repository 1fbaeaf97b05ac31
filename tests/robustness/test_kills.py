"""Twenty SIGKILLs at random moments, each followed by the same command, end in the weights of an unbroken run."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import pytest

KILLS = 20
ROWS = [{"text": f"{'what a good film' if i % 2 else 'what a bad film'} number {i} {i * 37 % 11}",
         "label": "positive" if i % 2 else "negative"} for i in range(24)]
STEPS, EVERY = 400, 5


def command(folder: Path, model: Path, name: str) -> list[str]:
    return ["tune", str(folder / "train.jsonl"), "--model", str(model), "--test", str(folder / "test.jsonl"),
            "--out", str(folder / name), "--workspace", str(folder / f"space-{name}"), "--adapter", "lora",
            "--rank", "2", "--steps", str(STEPS), "--batch-size", "4", "--learning-rate", "1e-3",
            "--checkpoint-every-steps", str(EVERY)]


def scrimp(argv: list[str], cache: str, log: str) -> None:
    """The command line in a process of its own, whose libraries are loaded already."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "SCRIMP_CACHE": cache}
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    from scrimp.cli.app import main

    sys.exit(main(argv))


def progress(space: Path) -> float:
    """When the run last wrote anything."""
    times = []
    for folder, _, names in os.walk(space):  # which passes over a folder that is gone
        for name in (*names, "."):
            with contextlib.suppress(OSError):  # it was renamed just now
                times.append((Path(folder) / name).stat().st_mtime)
    return max(times, default=0.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_end_in_the_weights_of_an_unbroken_run(tmp_path, causal_folder):
    for name, rows in (("train", ROWS), ("test", [{**row, "text": f"{row['text']} and {n}"} for n, row in
                                                  enumerate(ROWS[:4], 100)])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["torch", "transformers", "peft", "sklearn.linear_model", "scrimp.cli.app"])

    def start(name: str) -> multiprocessing.Process:
        process = server.Process(target=scrimp, args=(command(tmp_path, causal_folder, name), str(tmp_path / "cache"),
                                                      str(tmp_path / f"{name}.log")))
        process.start()
        return process

    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0, (tmp_path / "whole.log").read_text()

    moments, killed, space = random.Random(0), 0, tmp_path / "space-killed"
    for attempt in range(3 * KILLS):
        before, run = progress(space), start("killed")
        if killed < KILLS:
            deadline = time.monotonic() + 60
            while attempt and progress(space) == before and run.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)  # so that every attempt gets a little further
            time.sleep(moments.uniform(0.0, 0.4))
            if run.is_alive():
                run.kill()
                killed += 1
        run.join()
        if run.exitcode == 0:
            break
        assert run.exitcode == -9, (tmp_path / "killed.log").read_text()
        assert not (tmp_path / "killed" / "scores.json").exists() or not (tmp_path / "killed" / "report.html").exists()
    assert run.exitcode == 0
    assert killed == KILLS, f"it was finished after {killed} kills: give it more steps"
    adapter = Path("model", "adapter_model.safetensors")
    assert (tmp_path / "killed" / adapter).read_bytes() == (tmp_path / "whole" / adapter).read_bytes()
    assert "Traceback" not in (tmp_path / "killed.log").read_text()
