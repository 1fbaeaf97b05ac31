"""What selection is worth once it is paid for: quality against all operations, those of selecting included.

    python -m benchmarks.selection.curves [--pools domains,films] [--seeds 5] [--rows N] [--out FILE]

Of each pool the selectors keep rows, from a thirty-second of it up to one half, and a learner learns from them; so it
does from rows that controls keep. A cell is a pool, an arm, a seed and a size: what it cost to select, what it cost to
learn, and what the learner is worth. It is kept in the file as soon as it is measured, and a benchmark that was stopped
goes on where it was. The page of the documentation is written at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.selection.curves_arms import ARMS
from benchmarks.selection.curves_page import publish
from benchmarks.selection.curves_pools import BATCH, EPOCHS, POOLS, SHAPE, Drawn, Learner, Pool
from scrimp.core.progress import quiet
from scrimp.core.registry import build
from scrimp.core.workspace import atomic_write
from scrimp.evidence import Lab

__all__ = ["Record", "cells", "measured", "sizes_of"]

PARTS = (32, 16, 8, 4, 2)  #: of a pool, that are kept; chance may keep all
TRIAL = 1000               # the seed on which a learner's setting is chosen
OUT = Path(__file__).with_suffix(".json")

Cell = dict[str, float]


class Record:
    """What was measured so far, in a file.

    Args:
        out: the file; what is in it is gone on with if it was measured in the same way.
        settings: of the measuring.
    """

    def __init__(self, out: Path, **settings: Any) -> None:
        self._out = out
        here = {"settings": json.loads(json.dumps(settings)),
                "versions": {name: version(name) for name in ("numpy", "torch", "transformers", "scikit-learn")}}
        before = json.loads(out.read_text()) if out.exists() else {}
        self.found: dict[str, Any] = before if before.items() >= here.items() else {**here, "tuned": {}, "cells": {}}

    def keep(self, kind: str, name: str, make: Callable[[], Any]) -> Any:
        """What ``name`` was found to be, or is now."""
        if name not in self.found[kind]:
            self.found[kind][name] = make()
            atomic_write(self._out, json.dumps(self.found, indent=1, sort_keys=True) + "\n")
        return self.found[kind][name]


def sizes_of(arm: str, rows: int) -> list[int]:
    """Rows of an epoch, by arm."""
    parts = [rows // part for part in PARTS]
    return [*parts, rows] if arm == "random" else parts


def chosen(arm: str, drawn: Drawn, learner: Learner, seed: int) -> tuple[np.ndarray, Any]:
    """The rows of the pool that an arm would keep, the best first, as many as its largest size; and the bill."""
    signals, count = learner.signals(ARMS[arm].encoder), len(drawn.pool)
    keep = max(sizes_of(arm, count))
    if arm == "oracle":
        order = np.random.default_rng(seed).permutation(count)
        kept = order[np.argsort(~drawn.good[order], kind="stable")][:keep]
    else:
        kept = build("selection", arm, ARMS[arm].options).select(drawn.pool, keep, signals=signals, target=drawn.target,
                                                                 seed=seed).indices
    return kept, signals.meter.close()


def cell(learner: Learner, drawn: Drawn, size: int, kept: np.ndarray, looked: Any) -> Cell:
    """What a learner is worth that had epochs of the first ``size`` of the rows that were ``kept``."""
    quality, training = learner.taught(drawn.pool.subset(kept[:size]), size)
    return _cell(quality, training, learner.extra(looked, training), float(drawn.good[kept[:size]].mean()))


def _cell(quality: float, training: float, selecting: float, good: float) -> Cell:
    return {"quality": round(quality, 6), "training": round(training), "selecting": round(selecting),
            "good": round(good, 4)}


def cells(arm: str, drawn: Drawn, learner: Learner, seed: int, sizes: Sequence[int]) -> Iterator[tuple[int, Cell]]:
    """A cell for each size; the choice is made once, and all its work is on each cell's bill."""
    if arm == "redrawn":
        for size in sizes:
            yield size, _cell(*learner.taught(drawn.pool, size, anew=True), 0.0, float(drawn.good.mean()))
    elif arm == "target":
        for size in sizes:
            yield size, _cell(*learner.taught(drawn.target, size), 0.0, 1.0)
    else:
        began = time.process_time()
        kept, looked = chosen(arm, drawn, learner, seed)
        seconds = time.process_time() - began
        for size in sizes:
            yield size, {**cell(learner, drawn, size, kept, looked), "selecting_s": round(seconds, 2)}


def setting_of(pool: Pool, *, smoke: bool) -> dict[str, Any]:
    """The setting with which rows by chance, of the middle size, teach most; on a seed of its own."""
    lab = Lab(TRIAL, smoke=smoke)
    drawn = pool.draw(lab, pool.rows)
    size = pool.rows // PARTS[len(PARTS) // 2]
    tried = {f"{setting:g}": pool.learner(lab, drawn, setting).taught(drawn.pool.subset(range(size)), size)[0]
             for setting in pool.settings}
    best = (min if pool.better == "lower" else max)(tried, key=lambda setting: tried[setting])
    return {"setting": float(best), "tried": {name: round(value, 4) for name, value in tried.items()}}


def measured(out: Path, pools: Mapping[str, Pool] = POOLS, *, seeds: int = 5, smoke: bool = False) -> dict[str, Any]:
    """Everything, with what ``out`` already holds of the same measuring."""
    record = Record(out, shape=SHAPE, epochs=EPOCHS, batch=BATCH, parts=PARTS, seeds=seeds, smoke=smoke,
                    pools={name: [pool.rows, sorted(pool.arms), pool.settings] for name, pool in pools.items()},
                    options={name: dict(arm.options) for name, arm in ARMS.items() if arm.options})
    for (name, pool), seed in product(pools.items(), range(seeds)):
        setting = record.keep("tuned", name, lambda pool=pool: setting_of(pool, smoke=smoke))["setting"]
        lab = Lab(seed, smoke=smoke)
        drawn = pool.draw(lab, pool.rows)
        for arm in pool.arms:
            names = {size: f"{name}/{arm}/{seed}/{size}" for size in sizes_of(arm, len(drawn.pool))}
            missing = [size for size, key in names.items() if key not in record.found["cells"]]
            for size, value in cells(arm, drawn, pool.learner(lab, drawn, setting), seed, missing) if missing else ():
                record.keep("cells", names[size], lambda value=value: value)
                print(names[size], value, flush=True)
    return record.found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", default=",".join(POOLS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="of each pool; else as many as it is meant to have")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    pools = {name: replace(POOLS[name], rows=asked.rows or POOLS[name].rows) for name in asked.pools.split(",")}
    with quiet():
        found = measured(asked.out, pools, seeds=asked.seeds)
    if asked.out == OUT:
        publish(found)


if __name__ == "__main__":
    main()
