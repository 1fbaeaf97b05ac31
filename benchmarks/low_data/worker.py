"""One way in a process of its own: reads what it is asked, writes what it answers.

    python -m benchmarks.low_data.worker MODULE:FUNCTION ASKED.json ANSWERS.json [PACKAGE ...]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.low_data.asked import Asked


def main(function: str, asked: Path, answers: Path, packages: Sequence[str]) -> None:
    module, _, name = function.partition(":")
    given = Asked.load(asked)
    found = getattr(import_module(module), name)(given)
    told = {"answers": found, "versions": versions(packages), "notes": given.notes}
    beside = answers.with_suffix(".part")
    beside.write_text(json.dumps(told), encoding="utf-8")
    os.replace(beside, answers)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    known = {}
    for package in packages:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            known[package] = "none"
    return known


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
