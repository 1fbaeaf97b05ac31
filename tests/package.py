"""Build the wheel and the sdist, and try each where nothing of the source is near: `make package`.

Each is installed in an empty virtual environment. There `scrimp` says its version, lists its methods and learns from a
few rows, in a folder of its own, with tiny random models in place of the real ones. All extras must resolve.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

from pages import stand_ins

ROOT = Path(__file__).resolve().parent.parent
ROWS = "text,label\n" + "".join(f"what a {word} film {n},{label}\n" for n in range(16)
                                for word, label in (("good", "positive"), ("bad", "negative")))
TRIED = (["--version"], ["methods"],
         ["fit", "rows.csv", "--rungs", "word-counts", "--budget", "3m", "--out", "run"],
         ["predict", "run", "rows.csv", "--out", "predictions.jsonl"])


def main() -> None:
    """Build, install and try; ends at the first thing that fails."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)], folder)
        wheel, sdist = (next((folder / "dist").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
        stand_ins(folder / "cache")
        for built in (wheel, sdist):
            _tried(built, folder / built.suffix.strip("."), folder / "cache")
        for extra in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]:
            _run([sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "-c",
                  str(ROOT / "constraints.txt"), f"{wheel}[{extra}]"], folder)


def _tried(built: Path, folder: Path, cache: Path) -> None:
    """Install a distribution in an empty environment, and use it from an empty folder."""
    folder.mkdir()
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    venv.create(folder / "venv", with_pip=True)
    constraints = str(ROOT / "constraints.txt")
    _run([str(folder / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-c", constraints,
          str(built)], folder)
    for words in TRIED:
        _run([str(folder / "venv/bin/scrimp"), *words], folder, SCRIMP_CACHE=str(cache), HF_HUB_OFFLINE="1")


def _run(command: list[str], folder: Path, **environment: str) -> None:
    start = time.monotonic()
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=folder, env=inherited | environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    shown = " ".join([Path(command[0]).name, *(Path(word).name or word for word in command[1:])])
    print(f"{shown} -> {done.returncode} in {time.monotonic() - start:.0f} s", flush=True)
    if done.returncode:
        sys.exit(done.stdout)


if __name__ == "__main__":
    main()
