"""How well, how fast and how lean facility location covers real embeddings, beside other libraries and at scale.

    python -m benchmarks.selection.coverage [--rows 1000000] [--threads 2] [--out benchmarks/selection/results.json]

Each choice is made in a process of its own, which gives its seconds and its largest resident memory. What is measured
is kept in the file at once, and a benchmark that was stopped goes on where it was. apricot-select and submodlib-py are
measured where they are installed, on rows whose similarities they can hold. Values are those of all rows compared with
what was kept, or at scale of a sample of them; ``over chance`` is the share that is reached of what exact greedy adds
to the value of as many rows drawn by chance.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.selection.material import COPIES, JITTER, jittered
from scrimp.core.registry import build
from scrimp.core.workspace import atomic_write
from scrimp.data.selection.cells import unit
from scrimp.data.selection.submodular import FacilityLocation, lazy_greedy

SMALL, KEPT = 10_000, (100, 1000)  # rows that every library can hold, and how many of them are kept
LARGE_KEPT = (10_000, 100_000)     # of a million
_SAMPLE = 10_000                   # rows whose value is measured at scale
_PEERS = {"apricot": "apricot-select", "submodlib": "submodlib-py"}

Choice = Callable[[np.ndarray, int], np.ndarray]


def exact(vectors: np.ndarray, keep: int) -> np.ndarray:
    """Greedy over all similarities."""
    return lazy_greedy(FacilityLocation(similarities(vectors)), keep)[0]


def scrimp(vectors: np.ndarray, keep: int, **options: Any) -> np.ndarray:
    return build("selection", "facility-location", options).cover(vectors, keep)


def by_chance(vectors: np.ndarray, keep: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(vectors))[:keep]


def apricot(vectors: np.ndarray, keep: int) -> np.ndarray:
    from apricot import FacilityLocationSelection

    chooser = FacilityLocationSelection(keep, metric="precomputed", optimizer="lazy")
    return chooser.fit(similarities(vectors).astype(np.float64)).ranking


def submodlib(vectors: np.ndarray, keep: int) -> np.ndarray:
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=len(vectors), mode="dense", sijs=similarities(vectors), separate_rep=False)
    found = function.maximize(budget=keep, optimizer="LazyGreedy", show_progress=False)
    return np.array([row for row, _ in found])


CHOICES: dict[str, Choice] = {
    "exact": exact, "scrimp": scrimp, "chance": by_chance, "apricot": apricot, "submodlib": submodlib,
    "scrimp, stochastic": lambda vectors, keep: scrimp(vectors, keep, greedy="stochastic"),
}


def similarities(vectors: np.ndarray) -> np.ndarray:
    """All cosines, at least zero, float32 [N, N]."""
    directions = unit(vectors)
    return (directions @ directions.T).clip(0, 1)


def value(vectors: np.ndarray, kept: np.ndarray, sample: int) -> float:
    """The mean similarity of a row of a sample with the kept row that is nearest to it."""
    rows = np.sort(np.random.default_rng(2).permutation(len(vectors))[:sample])
    asked, best = unit(vectors[rows]), np.zeros(len(rows), dtype=np.float32)
    for at in range(0, len(kept), 1000):
        best = np.maximum(best, (asked @ unit(vectors[np.sort(kept[at:at + 1000])]).T).max(axis=1))
    return float(best.mean())


def one(name: str, file: Path, keep: int) -> dict[str, float]:
    """A choice measured in this process: the similarities or neighbours that it goes by are part of it."""
    vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    began = time.perf_counter()
    kept = CHOICES[name](vectors, keep)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert len(set(kept.tolist())) == keep
    return {"seconds": seconds, "peak_bytes": peak, "value": value(vectors, kept, _SAMPLE)}


def apart(name: str, file: Path, keep: int, threads: int) -> dict[str, float]:
    """As `one`, in a process of its own."""
    asked = [sys.executable, "-W", "ignore", "-m", "benchmarks.selection.coverage", "--one", name, "--file", str(file),
             "--keep", str(keep)]
    done = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    return {**json.loads(done.stdout.splitlines()[-1]), "threads": threads}


def measured(out: Path, rows: int, threads: int) -> dict[str, Any]:
    """Everything, with what ``out`` already holds of the same measuring."""
    found = begun(out, rows=rows)
    plan = {SMALL: (KEPT, [*CHOICES]), rows: ([keep * rows // 1_000_000 for keep in LARGE_KEPT], ["chance", "scrimp"])}
    with tempfile.TemporaryDirectory() as folder:
        for count, (keeps, names) in plan.items():
            file = Path(folder) / f"{count}.npy"
            for keep, name in ((keep, name) for keep in keeps for name in names):
                label = f"{count} rows, {keep} kept"
                if name in found["runs"].get(label, {}) or (name in _PEERS and not importlib.util.find_spec(name)):
                    continue
                if not file.exists():
                    jittered(count, file)
                found["runs"].setdefault(label, {})[name] = apart(name, file, keep, threads)
                atomic_write(out, (json.dumps(found, indent=1) + "\n").encode())
                print(label, name, found["runs"][label][name], flush=True)
    return found


def begun(out: Path, **settings: Any) -> dict[str, Any]:
    """What was measured before, if it was in the same way; else nothing yet."""
    peers = {package: version(package) for name, package in _PEERS.items() if importlib.util.find_spec(name)}
    here = {"settings": {**settings, "copies": COPIES, "jitter": JITTER},
            "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
            "versions": {"numpy": np.__version__, "torch": version("torch"), **peers}}
    before = json.loads(out.read_text()) if out.exists() else {}
    return before if before.items() >= here.items() else {**here, "runs": {}}


def told(runs: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The figures in lines."""
    lines = []
    for label, choices in runs.items():
        lines.append(label)
        chance, best = choices["chance"]["value"], choices.get("exact", {}).get("value")
        for name, got in choices.items():
            lines.append(f"  {name:20} {got['seconds']:8.1f} s {got['peak_bytes'] / 2**30:6.2f} GiB  "
                         f"value {got['value']:.4f}")
            if best:
                lines[-1] += f"  {got['value'] / best:7.2%} of exact, " \
                             f"{(got['value'] - chance) / (best - chance):6.1%} over chance"
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.file, asked.keep)))
    else:
        print(told(measured(asked.out, asked.rows, asked.threads)["runs"]))


if __name__ == "__main__":
    main()
