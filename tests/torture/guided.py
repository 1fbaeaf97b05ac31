"""Corrupted inputs guided by coverage: atheris mutates a valid input towards code that no input has reached yet."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from tests.torture.record import Kept, Trial

__all__ = ["run"]

_LONGEST = 16384  # bytes of an input
_COVERED = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


def run(good: Path, place: Path, kept: Kept, *, runs: int, seed: int, only: str | None = None) -> None:
    """Try ``runs`` inputs of each surface that is quick enough, less those that were tried before."""
    from tests.torture.surfaces import SURFACES

    done = {group for group, _ in kept.names()}
    for name, surface in SURFACES.items():
        if not surface.guided or name in done or (only and only not in name):
            continue
        with tempfile.TemporaryDirectory(prefix="guided-", dir=place) as folder:
            said = Path(folder, "said.json")
            made = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "tests.torture.guided", "--surface", name, "--runs", str(runs),
                 "--seed", str(seed), "--good", str(good), "--folder", folder],
                capture_output=True, text=True, errors="replace")
            told = json.loads(said.read_text()) if said.exists() else {"counts": {}, "failures": {}}
        covered = [tuple(map(int, found)) for found in _COVERED.findall(made.stderr)]
        counts = told["counts"]
        for where, what in told["failures"].items():
            kept.add(Trial(name, where, "failed", what))
        facts = {"inputs": sum(counts.values()), **counts}
        if covered:
            facts |= {"points reached at first": covered[0][0], "points reached at last": covered[-1][0]}
        if made.returncode or sum(counts.values()) < runs:
            kept.add(Trial(name, "the fuzzer", "failed", f"it ended with {made.returncode}",
                           {"log": made.stderr[-1500:]}))
        kept.add(Trial(name, "all", "right", "", facts))
        print(f"guided: {name}: {facts}", flush=True)


def main() -> None:
    """Within the process: fuzz one surface, and keep what became of the inputs."""
    parser = argparse.ArgumentParser()
    for name in ("surface", "good", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    import atheris

    from tests.torture.record import refusal
    from tests.torture.surfaces import SURFACES, Wrong

    surface, folder = SURFACES[asked.surface], Path(asked.folder)
    source, work = Path(asked.good) / surface.source, folder / "work"
    work.mkdir()
    shutil.copy(source, work)
    with atheris.instrument_imports(include=["scrimp"]):  # what is read is imported when it is read first
        from tests.torture.inputs import Watch

        surface.read(work / source.name)
    (folder / "corpus").mkdir()
    (folder / "corpus" / "whole").write_bytes(source.read_bytes())
    os.environ |= {"SCRIMP_WORKSPACE": str(work / "space"), "SCRIMP_CACHE": str(work / "cache")}
    os.chdir(work)
    counts: Counter[str] = Counter()
    failures: dict[str, str] = {}
    watch = Watch()

    def tried(data: bytes) -> None:
        path = work / source.name
        path.write_bytes(data)
        where = told = ""
        with watch.over(work):
            try:
                surface.read(path)
                outcome = "right"
            except Wrong as error:
                outcome, told = "failed", f"accepted what cannot be right: {error}"
                where = re.sub(r"\d+", "n", told)[:60]
            except Exception as error:
                told = refusal(error) or ""
                outcome = "failed" if told else "refused"
                where = str(traceback.extract_tb(error.__traceback__)[-1])
        if watch.seen:
            outcome, told, where = "failed", watch.seen[0], watch.seen[0][:40]
        counts[outcome] += 1
        if outcome == "failed" and len(failures) < 20 and where not in failures:
            failures[where] = told
            kept = folder.parent / "failed"
            kept.mkdir(exist_ok=True)
            (kept / f"guided-{hashlib.sha256(data).hexdigest()[:8]}-{source.name}").write_bytes(data)
        if outcome == "failed" or sum(counts.values()) % 50 == 0 or sum(counts.values()) >= asked.runs:
            (folder / "said.json").write_text(json.dumps({"counts": counts, "failures": failures}))

    atheris.Setup([sys.argv[0], str(folder / "corpus"), f"-runs={asked.runs}", f"-seed={asked.seed + 1}",
                   f"-max_len={max(_LONGEST, source.stat().st_size)}", "-timeout=60", "-rss_limit_mb=6144",
                   "-len_control=0",
                   f"-artifact_prefix={folder}/"], tried)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
