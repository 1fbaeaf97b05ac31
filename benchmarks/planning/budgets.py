"""Does `scrimp fit` keep its budget, and come true what it foresaw? Many small runs, each on a task of its own.

    python -m benchmarks.planning.budgets [--runs 100] [--threads N] [--again] [--out benchmarks/planning/budgets.jsonl]

Each run has a number, which draws its task, how many rows of each class it learns from, how many it is tested on, and
its budget: of five runs four have 20 to 60 seconds, start-up included, and one has one to four minutes. The command
runs in a process of its own and is timed from outside. What it leaves must answer rows. A run is kept in the file as
soon as it is done, and what is found there is not run again unless ``--again`` says so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.low_data.running import COMMAND, grace, machine, revision, run
from benchmarks.low_data.tasks import COUNTS, PEERS, TASKS, draw
from scrimp.checkpoints.loading import resolve
from scrimp.core.progress import quiet
from scrimp.core.workspace import atomic_write

__all__ = ["RESULTS", "Asked", "asked", "runs"]

RESULTS = Path(__file__).with_name("budgets.jsonl")
SHORT_S, LONG_S = (20.0, 60.0), (60.0, 240.0)
_LONG_EVERY = 5
_TESTED = (50, 500)
_ANSWERED = 5  # rows that what is left must answer
_HOPELESS = 3  # times its budget, after which a run is killed
MODELS = ("minilm", "smollm2-135m")


@dataclass(frozen=True)
class Asked:
    """What one run is asked."""

    number: int
    task: str
    count: int
    tested: int
    seconds: float


def asked(number: int) -> Asked:
    """What the run of that number is asked."""
    chance = random.Random(number)
    seconds = chance.uniform(*(LONG_S if number % _LONG_EVERY == 0 else SHORT_S))
    return Asked(number, chance.choice(sorted(TASKS)), chance.choice(COUNTS), chance.randint(*_TESTED), round(seconds))


def runs(path: Path = RESULTS) -> dict[int, dict[str, Any]]:
    """What a file holds, by number."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {one["number"]: one for one in map(json.loads, lines)}


def measured(what: Asked, threads: int) -> dict[str, Any]:
    """The facts of one run."""
    with tempfile.TemporaryDirectory(prefix="budgets-") as name:
        folder, rows = Path(name), draw(what.task, what.count, what.number)
        columns = ("text", "label") if TASKS[what.task].labelled else ("prompt", "completion")
        for part, pairs in (("train", rows.train), ("test", rows.test[:what.tested]), ("new", rows.test[:_ANSWERED])):
            lines = [json.dumps(dict(zip(columns, pair, strict=True)), ensure_ascii=False) for pair in pairs]
            (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        settings = {"SCRIMP_WORKSPACE": str(folder / "workspace"), "OMP_NUM_THREADS": str(threads),
                    "HF_HUB_OFFLINE": "1"}
        done = run([COMMAND, "fit", "train.jsonl", "--test", "test.jsonl", "--budget", f"{what.seconds:g}s", "--seed",
                    str(what.number), "--out", "run"], folder, _HOPELESS * what.seconds, settings)
        used = run([COMMAND, "predict", "run", "new.jsonl", "--out", "answers.jsonl"], folder,
                   _HOPELESS * what.seconds, settings)
        told = folder / "run" / "scores.json"
        found = _foreseen(json.loads(told.read_text(encoding="utf-8"))) if told.exists() else {}
        usable = used.code == 0 and len((folder / "answers.jsonl").read_text().splitlines()) == _ANSWERED
    return {**asdict(what), "took": round(done.seconds, 2), "code": done.code, "of_use": usable,
            "kept": done.seconds <= what.seconds + grace(what.seconds), "others": round(done.others, 2),
            "threads": threads, **machine(), **revision(), **found, **({} if usable else {"said": done.said[-400:]})}


def _foreseen(told: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds and bytes that were foreseen and spent: of each way, and of the whole."""
    ways = {one["name"]: {"foreseen": one["foreseen"], "spent": {name: one["bill"][name] for name in one["foreseen"]}}
            for one in told["rungs"] if one["foreseen"] and not one["skipped"]}
    whole = {"foreseen": told["foreseen"], "spent": {name: told["bill"][name] for name in told["foreseen"] or {}}}
    return {"won": told["winner"], "ways": ways, "whole": whole}


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    if given.peers:
        os.environ[PEERS] = str(given.peers.absolute())
    with quiet():
        for name in MODELS:
            resolve(name)
        for number in _missing(given):
            facts = measured(asked(number), given.threads)
            found = {**runs(given.out), number: facts}
            atomic_write(given.out, "".join(json.dumps(found[one], sort_keys=True) + "\n" for one in sorted(found)))
            print(f"{number} of {given.runs}  {facts['task']}/{facts['count']}  {facts['took']:.1f} of "
                  f"{facts['seconds']:.0f} s{', over' * (not facts['kept'])}{', of no use' * (not facts['of_use'])}",
                  flush=True)


def _missing(given: argparse.Namespace) -> Iterator[int]:
    known = {} if given.again else runs(given.out)
    return (number for number in range(1, given.runs + 1) if number not in known)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="how many, numbered from 1")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that a run computes with")
    parser.add_argument("--again", action="store_true", help="what is in the file too")
    parser.add_argument("--peers", type=Path, default=None, help="folder of the libraries that write problems")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    main()
