"""`python -m tests.torture`: all of the campaign, or a part of it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

PARTS = ("inputs", "guided", "kills", "surroundings", "faults")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--n", type=int, default=10_000, help="corrupted inputs, two thirds guided by coverage")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, default=Path("build/torture"), help="materials and what was tried so far")
    parser.add_argument("--keep", action="store_true", help="write results.json and docs/faults.md of all tried so far")
    parser.add_argument("--surface", help="only the surfaces whose name has this")
    asked = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    from tests.torture import faults, guided, inputs, kills, page, surroundings
    from tests.torture.materials import make
    from tests.torture.record import Kept

    place = asked.place.absolute()
    good = make(place / "good")
    parts = asked.only.split(",")
    if "inputs" in parts:
        inputs.run(good, place, Kept(place / "inputs.jsonl"), total=asked.n // 3, seed=asked.seed, only=asked.surface)
    if "guided" in parts:
        guided.run(good, place, Kept(place / "guided.jsonl"), runs=max(asked.n // 16, 50), seed=asked.seed,
                   only=asked.surface)
    if "kills" in parts:
        kills.run(good, place, Kept(place / "kills.jsonl"), total=asked.kills, seed=asked.seed, only=asked.surface)
    if "surroundings" in parts:
        surroundings.run(good, place, Kept(place / "surroundings.jsonl"), seed=asked.seed, only=asked.surface)
    if "faults" in parts:
        faults.run(good, place, Kept(place / "faults.jsonl"), only=asked.surface)
    if asked.keep:
        page.write(page.record(place, seed=asked.seed, command=f"python -m tests.torture --n {asked.n} --kills "
                                                               f"{asked.kills} --seed {asked.seed}"))


if __name__ == "__main__":
    main()
