"""One way in a process of its own: reads what it is asked, writes what it answers.

    python -m benchmarks.low_data.worker WAY ASKED.json ANSWERS.json
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.low_data.asked import Asked
from benchmarks.low_data.ways import WAYS


def main(name: str, asked: Path, answers: Path) -> None:
    given = Asked.load(asked)
    found = WAYS[name](given)
    atomic = answers.with_suffix(".part")
    atomic.write_text(json.dumps({"answers": found, "versions": versions(WAYS[name].packages), "notes": given.notes}),
                      encoding="utf-8")
    os.replace(atomic, answers)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Of those that are installed."""
    known = {}
    for package in packages:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            known[package] = "none"
    return known


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
