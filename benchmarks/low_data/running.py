"""A cell of the benchmark: one way on one task, in a process of its own that is killed when its time is over.

The clock runs from before the process is started until after its last test row is answered. All ways have the same
time, and the same grace: 5 %, or 3 seconds where that is more. What is not done by then is killed, and scores nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.low_data.asked import Asked
from benchmarks.low_data.tasks import Draw, score
from benchmarks.low_data.ways import WAYS
from benchmarks.low_data.worker import versions

__all__ = ["Place", "grace", "measured"]

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("scrimp"))
BUSY = 0.7    #: of the cores that may be used, how many others may keep busy; beyond that a cell is marked
_LOOK = 1.0   # seconds for which the machine is looked at beforehand
_TAIL = 400   # characters of what a way said before it failed


@dataclass(frozen=True)
class Place:
    """Where cells are measured.

    Attributes:
        seconds: that each way has.
        threads: that each way may compute with.
        models: folders of the models that are at hand, by name.
        peers: folder of the peers' libraries.
    """

    seconds: float
    threads: int
    models: Mapping[str, str]
    peers: Path | None = None


@dataclass(frozen=True)
class Run:
    """What became of a command.

    Attributes:
        seconds: of the clock, from before it was started.
        code: its exit code; None if it was killed at its limit.
        said: the end of what it wrote.
        others: of the cores that it may use, those that everything else kept busy meanwhile, on average.
    """

    seconds: float
    code: int | None
    said: str
    others: float


def grace(seconds: float) -> float:
    """By how many seconds a budget may be exceeded."""
    return max(3.0, 0.05 * seconds)


def measured(way: str, draw: Draw, labelled: bool, seed: int, place: Place) -> dict[str, Any]:
    """What a way reached, as the facts of a cell."""
    with tempfile.TemporaryDirectory(prefix="low-data-") as name:
        folder, before = Path(name), load()
        found = (_scrimp if WAYS[way].function is None else _peer)(way, draw, labelled, seed, place, folder)
    done, answers = found.pop("run"), found.pop("answers")
    status = "late" if done.code is None else "failed" if answers is None else "done"
    return {"status": status, "score": score(answers or [], draw.test), "n": len(draw.test), "trained": len(draw.train),
            "seconds": round(done.seconds, 2), "budget": place.seconds, "threads": place.threads, **before,
            "others": round(done.others, 2), "loaded": max(before["busy"], done.others) > BUSY, **machine(), **found,
            **({"said": done.said[-_TAIL:]} if status == "failed" else {})}


def load() -> dict[str, float]:
    """The system's mean load, and how many of the cores that may be used are busy now."""
    each = psutil.cpu_percent(_LOOK, percpu=True)
    busy = sum(each[core] for core in os.sched_getaffinity(0)) / 100
    return {"load": round(os.getloadavg()[0], 2), "busy": round(busy, 2)}


def machine() -> dict[str, Any]:
    """The processor's name, and cores: of the machine, and those that may be used."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in told.splitlines() if line.startswith("model name")]
    return {"processor": names[0] if names else "unknown", "cores": os.cpu_count() or 1,
            "usable": len(os.sched_getaffinity(0))}


def _spent() -> tuple[float, float]:
    """Seconds of the cores that may be used: all that they worked, and for processes started here that have ended."""
    each, own = psutil.cpu_times(percpu=True), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(_worked(each[core]) for core in os.sched_getaffinity(0)), own.ru_utime + own.ru_stime


def _worked(core: Any) -> float:
    return sum(core) - core.idle - getattr(core, "iowait", 0.0) - getattr(core, "guest", 0.0)


def run(command: Sequence[str], folder: Path, seconds: float, environment: Mapping[str, str]) -> Run:
    """Run a command in a folder; it and all that it started are killed at the limit."""
    before = _spent()
    with (folder / "said.txt").open("w+b") as said:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT,
                                   env={**os.environ, **environment}, start_new_session=True)
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            taken = time.monotonic() - began
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        told = said.read().decode(errors="replace").strip()
    machine, own = (after - start for after, start in zip(_spent(), before, strict=True))
    return Run(taken, code, told, max(0.0, machine - own) / taken)


def _environment(place: Place, *paths: str) -> dict[str, str]:
    threads = str(place.threads)
    found = [*paths, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(found), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
            "RAYON_NUM_THREADS": threads, "LOKY_MAX_CPU_COUNT": threads, "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


def _peer(way: str, draw: Draw, labelled: bool, seed: int, place: Place, folder: Path) -> dict[str, Any]:
    asked, answers = folder / "asked.json", folder / "answers.json"
    own = WAYS[way].folder
    paths = [str(place.peers / own)] if own and place.peers else []
    Asked(draw.train, [text for text, _ in draw.test], labelled, seed, time.time() + place.seconds, place.threads,
          dict(place.models)).save(asked)
    done = run([sys.executable, "-m", "benchmarks.low_data.worker", str(WAYS[way].function), str(asked), str(answers),
                *WAYS[way].packages], folder, place.seconds + grace(place.seconds),
               _environment(place, *paths, str(ROOT)))
    if done.code != 0:
        return {"run": done, "answers": None}
    return {"run": done, **json.loads(answers.read_text(encoding="utf-8"))}


def _scrimp(way: str, draw: Draw, labelled: bool, seed: int, place: Place, folder: Path) -> dict[str, Any]:
    """The command, as a person gives it; what it predicts is asked of what it shipped, after the clock has stopped.

    It measures itself on the test rows, so answering them is in its time.
    """
    columns = ("text", "label") if labelled else ("prompt", "completion")
    for name, rows in (("train", draw.train), ("test", draw.test)):
        lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {**_environment(place), "SCRIMP_WORKSPACE": str(folder / "workspace")}
    done = run([COMMAND, "fit", "train.jsonl", "--test", "test.jsonl", "--budget", f"{place.seconds:g}s", "--seed",
                str(seed), "--out", "run"], folder, place.seconds + grace(place.seconds), settings)
    facts = {"run": done, "versions": versions(WAYS[way].packages), **revision()}
    if done.code != 0:
        return {**facts, "answers": None}
    asking = run([COMMAND, "predict", "run", "test.jsonl", "--out", "answers.jsonl"], folder, 10 * place.seconds,
                 settings)
    if asking.code != 0:
        return {**facts, "run": replace(done, code=asking.code or 1, said=asking.said), "answers": None}
    lines = map(json.loads, (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines())
    told = json.loads((folder / "run" / "scores.json").read_text(encoding="utf-8"))
    return {**facts, "answers": [line["label" if labelled else "text"] for line in lines], "won": told["winner"]}


def revision() -> dict[str, Any]:
    """Git's commit of scrimp, the hash of the folder of its source, and whether that holds what is not committed."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return {"revision": git("rev-parse", "--short=12", "HEAD"), "source": git("rev-parse", "--short=12", "HEAD:src"),
            "changed": bool(git("status", "--porcelain", "--", "src"))}
