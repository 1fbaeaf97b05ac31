"""Compare engines: each workload in one run, a process for each engine, a round of each in turn, medians.

    python -m benchmarks.training [--quick] [--workloads W1,W3] [--engines "scrimp;TRL"] [--threads 1] [--rounds 3]
                                  [--both-paths] [--out FILE]

With a file, the page of the documentation is written too, and a benchmark that was stopped goes on where it was. TRL is
always among the engines: the others are told over it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.page import TRAINED, publish
from benchmarks.training.curves import curves
from benchmarks.training.engines import ENGINES
from benchmarks.training.exactness import gradient_error
from benchmarks.training.quality import quality
from benchmarks.training.workloads import WORKLOADS

_NO_PAIRS = ("TRL, packed", "plain PEFT")  # cannot do preference


class Worker:
    """An engine in a process of its own."""

    def __init__(self, engine: str, workload: str, threads: int) -> None:
        self.engine = engine
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.training.worker", engine, workload, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True)
        self.step = self._answer()
        self.seconds: list[float] = []
        self.memory = 0

    def round(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found = self._answer()
        self.seconds += found["seconds"]
        self.memory = max(self.memory, found["memory"])

    def close(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        usual = statistics.median(self.seconds)
        return {"tokens_per_s": self.step["tokens"] / usual, "flops_per_s": self.step["needed_flops"] / usual,
                "peak_over_rest": self.memory, "seconds": self.seconds}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._said.seek(0)
            raise RuntimeError(f"'{self.engine}' ended with exit code {code}:\n{self._said.read()[-2000:]}")
        return json.loads(line)


def compare(workload: str, engines: Sequence[str], *, threads: int, rounds: int) -> dict[str, Any]:
    """Tokens a second and memory of each engine on a workload."""
    workers = [Worker(engine, workload, threads) for engine in engines]
    for _ in range(rounds):
        for worker in workers:
            worker.round()
    return {worker.engine: worker.close() for worker in workers}


def matmul_peak(threads: int) -> float:
    """Operations a second of products of 2048 x 2048 in bfloat16, as measured now."""
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - began)
    return 2 * 2048**3 / statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="W1 and W3 against TRL, one JSON object")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--engines", default=";".join(ENGINES), help="with semicolons")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--both-paths", action="store_true", help="also whether both paths are one training")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.quick:
        print(json.dumps(quick()))
        return
    report = Report(asked.out, engines=asked.engines, rounds=asked.rounds)
    report.part("max_gradient_error_fp32", gradient_error)
    for threads in map(int, asked.threads.split(",")):
        for workload in asked.workloads.split(","):
            engines = [engine for engine in asked.engines.split(";") if workload != "W3" or engine not in _NO_PAIRS]
            measure = partial(compare, workload, engines, threads=threads, rounds=asked.rounds)
            run = report.run(workload, threads, measure)
            print("\n".join(_lines(run)), flush=True)
    if asked.both_paths:
        report.part("curves", curves)
        report.part("quality", quality)
    report.close()


class Report:
    """What was measured so far, kept beside the file that it becomes: a benchmark that was stopped goes on from it.

    Args:
        file: where it will be.
        settings: of the measuring; what was begun with others, or beside other versions, is begun anew.
    """

    def __init__(self, file: Path | None, **settings: Any) -> None:
        self._file = file
        self._begun = file and file.with_suffix(".begun.json")
        here: dict[str, Any] = {"settings": settings,
                                "machine": {"processor": platform.processor(), "python": platform.python_version()},
                                "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")}}
        before = json.loads(self._begun.read_text()) if self._begun and self._begun.exists() else {}
        self.found = before if before.items() >= here.items() else {**here, "runs": []}

    def part(self, name: str, measure: Callable[[], Any]) -> None:
        if name not in self.found:
            self.found[name] = measure()
            self._keep()

    def run(self, workload: str, threads: int, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        known = [run for run in self.found["runs"] if (run["workload"], run["threads"]) == (workload, threads)]
        if not known:
            known = [{"workload": workload, "what": WORKLOADS[workload][0], "threads": threads,
                      "matmul_peak": matmul_peak(threads), "engines": measure()}]
            self.found["runs"] += known
            self._keep()
        return known[0]

    def close(self) -> None:
        if self._file and self._begun:
            self._begun.replace(self._file)
            if self._file.resolve() == TRAINED.resolve():
                publish()

    def _keep(self) -> None:
        if self._begun:
            self._begun.write_text(json.dumps(self.found, indent=1) + "\n")


def quick() -> dict[str, float]:
    """Two workloads against TRL in a few minutes."""
    found = {workload: compare(workload, ("scrimp", "TRL"), threads=1, rounds=1) for workload in ("W1", "W3")}
    speed, memory = ({workload: run["scrimp"][what] / run["TRL"][what] for workload, run in found.items()}
                     for what in ("tokens_per_s", "peak_over_rest"))
    return {"w1_speedup": speed["W1"], "w3_speedup": speed["W3"], "w1_memory_ratio": memory["W1"],
            "max_gradient_error_fp32": gradient_error()}


def _lines(run: dict[str, Any]) -> list[str]:
    usual = run["engines"]["TRL"]
    return [f"{run['workload']} {run['threads']} thread(s), matmul peak {run['matmul_peak'] / 1e9:.0f} GFLOP/s",
            *(f"  {engine:20} {one['tokens_per_s']:7.0f} tokens/s {one['tokens_per_s'] / usual['tokens_per_s']:5.1f} x "
              f"{one['peak_over_rest'] >> 20:6} MiB over rest {one['peak_over_rest'] / usual['peak_over_rest']:5.2f}"
              for engine, one in run["engines"].items())]


if __name__ == "__main__":
    main()
