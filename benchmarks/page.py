"""Write the documentation's page on benchmarks anew from what was measured.

    python -m benchmarks.page
"""

from __future__ import annotations

import json

from benchmarks.planning import page as planning
from benchmarks.selection import page as selection
from benchmarks.training import page as tuning
from benchmarks.training.__main__ import PAGE

if __name__ == "__main__":
    found = json.loads((PAGE.parents[1] / "benchmarks" / "training" / "results.json").read_text())
    PAGE.write_text("\n".join([tuning.page(found), planning.page(), selection.page()]), encoding="utf-8")
