"""Write the documentation's page on benchmarks anew from what was measured.

    python -m benchmarks.page
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.planning import page as planning
from benchmarks.selection import page as selection
from benchmarks.training import page as tuning
from scrimp.core.workspace import atomic_write

__all__ = ["TRAINED", "publish"]

_HERE = Path(__file__).parent
TRAINED = _HERE / "training" / "results.json"  #: what `make bench` leaves


def publish(docs: Path = _HERE.parent / "docs") -> None:
    """Write the page, and the drawing on it."""
    found = json.loads(TRAINED.read_text(encoding="utf-8"))
    parts = [tuning.publish(found, docs), planning.page(), selection.page()]
    atomic_write(docs / "benchmarks.md", "\n".join(part for part in parts if part))


if __name__ == "__main__":
    publish()
