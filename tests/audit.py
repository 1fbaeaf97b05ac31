"""The pinned versions against the published advisories: `make audit`, and CI where the advisory service is in reach.

    python tests/audit.py [--where-reachable]

A known flaw is always a failure. Where nothing could be asked of the service, that is a failure too, unless
``--where-reachable`` says that it may be out of reach.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "audit"


def main(*arguments: str) -> int:
    """The exit code."""
    found = asked()
    audited = [one for one in found if "skip_reason" not in one]
    flawed = [one for one in audited if one["vulns"]]
    for one in flawed:
        for flaw in one["vulns"]:
            mended = ", ".join(flaw["fix_versions"]) or "none"
            print(f"{one['name']} {one['version']}: {flaw['id']}; mended in {mended}")
    print(f"{len(audited)} of {len(pinned())} pinned packages audited, {len(flawed)} with a known flaw")
    if not audited:
        print("the advisory service is out of reach here, so that nothing is known")
    return int(bool(flawed) or (not audited and "--where-reachable" not in arguments))


def asked() -> list[dict[str, Any]]:
    """What pip-audit tells of each package; nothing, if it does not come to an end."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        subprocess.run([tool(), "--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "15",
                        "--format", "json", "--output", str(told), "--requirement", str(ROOT / "constraints.txt")],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return json.loads(told.read_text("utf-8"))["dependencies"] if told.exists() else []


def pinned() -> list[str]:
    """The lines of `constraints.txt` that pin a version."""
    return [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line]


def tool() -> Path:
    """pip-audit, in an environment of its own."""
    found = PLACE / "bin" / "pip-audit"
    if not found.exists():
        venv.create(PLACE, with_pip=True)
        subprocess.run([PLACE / "bin" / "pip", "install", "--quiet", "pip-audit"], check=True,
                       stderr=subprocess.DEVNULL)
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
