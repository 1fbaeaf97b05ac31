"""Few rows and two minutes: `scrimp fit` beside what else one would use, one cell after the other.

    python -m benchmarks.low_data --peers FOLDER [--tasks films,spam] [--counts 4,16,64] [--seeds 5]
                                  [--ways words,scrimp] [--seconds 120] [--threads N] [--again scrimp,loaded]

A cell is a task, a number of rows of each class (of problems: in all), a seed and a way. It is kept in the file as
soon as it is measured; what is found there is not measured again, unless it had other seconds or threads, or
``--again`` names its way, or says ``loaded`` (others kept the machine busy), ``late`` or ``failed``. The page of the
documentation is written at the end.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.low_data.page import publish
from benchmarks.low_data.record import RESULTS, Key, Record, cells
from benchmarks.low_data.running import Place, measured
from benchmarks.low_data.tasks import COUNTS, PEERS, TASKS, draw
from benchmarks.low_data.ways import WAYS
from scrimp.checkpoints.loading import resolve
from scrimp.core.progress import quiet

MODELS = ("minilm", "smollm2-135m")
FIRST_SEED = 1  # what seed 0 draws was looked at while scrimp was built
STATES = ("loaded", "late", "failed")  #: of cells, that may be measured again


def keys(tasks: Sequence[str], counts: Sequence[int], seeds: int, ways: Sequence[str]) -> Iterator[Key]:
    """All cells that are asked for, a whole seed after the other."""
    for seed, task, count, way in product(range(FIRST_SEED, FIRST_SEED + seeds), tasks, counts, ways):
        if TASKS[task].kind in WAYS[way].kinds:
            yield Key(task, count, seed, way)


def again(named: Sequence[str], seconds: float, threads: int) -> Callable[[Key, dict[str, Any]], bool]:
    """Whether a cell is one of those that are ``named`` by way or by state, or had other seconds or threads."""
    def wanted(key: Key, cell: dict[str, Any]) -> bool:
        return (key.way in named or cell["status"] in named or ("loaded" in named and cell["loaded"])
                or (cell["budget"], cell["threads"]) != (seconds, threads))

    return wanted


def at_hand(ways: Sequence[str], peers: Path | None) -> list[str]:
    """The ways whose packages are there; of the others it is said that they are left out."""
    found = [way for way in ways if not (own := WAYS[way].folder) or (peers and (peers / own).is_dir())]
    for way in set(ways) - set(found):
        print(f"{way} is left out: there is no folder '{WAYS[way].folder}' among the peers' ({PEERS} or --peers)")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    peers = asked.peers.absolute() if asked.peers else None
    if peers:
        os.environ[PEERS] = str(peers)
    record = Record(asked.out)
    wanted = keys(asked.tasks, asked.counts, asked.seeds, at_hand(asked.ways, peers))
    missing = record.missing(wanted, again(asked.again, asked.seconds, asked.threads))
    with quiet():
        place = Place(asked.seconds, asked.threads, {name: str(resolve(name).path) for name in MODELS}, peers)
        for at, key in enumerate(missing, start=1):
            facts = measured(key.way, draw(key.task, key.count, key.seed), TASKS[key.task].labelled, key.seed, place)
            record.add(key, facts)
            print(f"{at} of {len(missing)}  {key}  {facts['status']} {facts['score']:.3f} in {facts['seconds']:.0f} s"
                  f"{', while others kept the machine busy' if facts['loaded'] else ''}", flush=True)
    if asked.out == RESULTS:
        publish(cells())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=_names(TASKS), default=list(TASKS))
    parser.add_argument("--counts", type=lambda told: [int(count) for count in told.split(",")], default=list(COUNTS))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 1")
    parser.add_argument("--ways", type=_names(WAYS), default=list(WAYS))
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that a way computes with")
    parser.add_argument("--again", type=_names([*WAYS, *STATES]), default=[])
    parser.add_argument("--peers", type=Path, default=os.environ.get(PEERS) and Path(os.environ[PEERS]),
                        help=f"folder of the peers' libraries; else {PEERS} names it")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def _names(known: Any) -> Callable[[str], list[str]]:
    def read(told: str) -> list[str]:
        names = told.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return read


if __name__ == "__main__":
    main()
