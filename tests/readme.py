"""Run the README's commands as written, in a folder of their own, and fail at the first that fails.

`make test` is excepted (this is part of it), `make demo` runs in the project's root as the README says, and
`pip install .` is what the environment under test came from.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXCEPTED = {"make test", "pip install ."}


def blocks() -> list[tuple[str, str]]:
    """(language, content) of every fenced block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)


def main() -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        ran = 0
        for language, content in blocks():
            if language == "yaml":
                Path(folder, "recipe.yaml").write_text(content, encoding="utf-8")
                continue
            commands = [[sys.executable, "-c", content]] if language == "python" else content.strip().splitlines()
            for command in commands:
                shown = command if isinstance(command, str) else "the Python example"
                if shown in EXCEPTED:
                    continue
                start = time.monotonic()
                where = ROOT if shown.startswith("make") else folder
                done = subprocess.run(command, shell=isinstance(command, str), cwd=where, env=environment, check=False)
                print(f"README: {shown} -> {done.returncode} in {time.monotonic() - start:.0f} s", flush=True)
                if done.returncode:
                    sys.exit(1)
                ran += 1
        if ran < 8:
            sys.exit(f"README: only {ran} commands were found")


if __name__ == "__main__":
    main()
