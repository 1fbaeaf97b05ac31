"""What rows without labels are worth: a head on frozen features that trains itself on them, beside one that does not.

    python -m benchmarks.low_data.unlabelled [--seeds 2] [--tasks films,spam]

The pool of a draw is what the largest draw of its task and seed holds beside it. Prints a line of Markdown for each
task: accuracy with as many labelled rows of each class, alone and with the pool, as means over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from benchmarks.low_data.tasks import COUNTS, TASKS, draw
from scrimp.checkpoints.loading import resolve
from scrimp.core.budget import Meter
from scrimp.examples.formats import read
from scrimp.planning.rungs import Base, FrozenRung, SelfTrainedRung
from scrimp.planning.unlabelled import gather_pool

_MOST_POOL, _MOST_TEST = 1200, 400


def accuracies(task: str, count: int, seed: int, cache: Path) -> tuple[float, float]:
    """Shares of test rows whose label is right, alone and with the pool."""
    drawn, largest = draw(task, count, seed), draw(task, COUNTS[-1], seed)
    train, test = (read([{"text": text, "label": label} for text, label in rows])
                   for rows in (drawn.train, drawn.test[:_MOST_TEST]))
    asked = SimpleNamespace(unlabelled=[{"text": text} for text, _ in largest.train], columns=None, on_bad_row="skip")
    pool = gather_pool(asked, train, test)
    assert pool is not None
    pool = pool.subset(range(min(len(pool), _MOST_POOL)))
    base = Base(resolve("minilm"), train, instruction=None)
    ways: list[Any] = [FrozenRung(base, cache, 0), SelfTrainedRung(base, cache, 0, lambda: pool)]
    said = (way.fit(train, cache, Meter()).predict(test.rows) for way in ways)
    alone, taught = (fmean(one["label"] == row["label"] for one, row in zip(some, test.rows, strict=True))
                     for some in said)
    return alone, taught


def lines(tasks: list[str], seeds: int) -> Iterator[str]:
    """The table, a task at a time."""
    with TemporaryDirectory() as cache:
        for task in tasks:
            cells = []
            for count in COUNTS[:-1]:
                found = [accuracies(task, count, seed, Path(cache)) for seed in range(seeds)]
                cells += [f"{100 * fmean(side):.1f}" for side in zip(*found, strict=True)]
            yield f"| {' | '.join([task, *cells])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tasks", default=",".join(name for name, task in TASKS.items() if task.labelled))
    given = parser.parse_args()
    for line in lines(given.tasks.split(","), given.seeds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
