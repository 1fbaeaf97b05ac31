"""Run the commands of the README, the tutorial and the how-to pages as written, and fail at the first that fails.

    python tests/pages.py                       # all pages
    python tests/pages.py docs/howto/chats.md   # one

Each page runs in a folder of its own. A block of ``sh`` is run line by line, one of ``python`` as a whole, and a block
with a title (``json title="rows.jsonl"``) is written to that file. A comment in the line above may say otherwise:

    <!-- not run: WHY -->    it is left out, and that is told
    <!-- until: URL -->      it runs in the background until the page ends; what follows waits for the address

The README runs with the real models. All other pages run with tiny random models in their place, two pages at a time,
so that it is the commands that are tried, in little time. Port 8000 of a page is a free one here.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import tiny

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/howto").glob("*.md")))
_BLOCK = re.compile(r"(?:^<!-- (?P<mark>not run|until): (?P<said>.*?) -->\n)?"
                    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<content>.*?)^```$", re.M | re.S)
_MODELS = {"smollm2-135m": tiny.causal, "minilm": tiny.encoder}
_WAIT_S, _COMMAND_S = 600.0, 1200.0


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comment above it says."""

    language: str
    content: str
    title: str | None = None
    not_run: str | None = None
    until: str | None = None


class Failed(Exception):
    """A command of a page did not do what the page says."""


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page, in order; port 8000 is a free one in all of them."""
    text = text.replace(":8000", f":{(port := _free_port())}").replace("--port 8000", f"--port {port}")
    for found in _BLOCK.finditer(text):
        said = {found["mark"]: found["said"]}
        yield Block(found["language"], found["content"], found["title"], said.get("not run"), said.get("until"))


def run(page: Path, environment: dict[str, str]) -> int:
    """Run a page's blocks, and tell of each command; returns how many were run.

    Raises:
        Failed: a command failed; with its output.
    """
    name, ran, behind = page.name, 0, list[subprocess.Popen[bytes]]()
    with tempfile.TemporaryDirectory() as folder:
        try:
            for block in blocks(page.read_text(encoding="utf-8")):
                if block.title:
                    Path(folder, block.title).write_text(block.content, encoding="utf-8")
                elif block.not_run:
                    print(f"{name}: left out, {block.not_run}: {block.content.splitlines()[0]}", flush=True)
                elif block.until:
                    behind.append(_behind(block, folder, environment))
                    ran += 1
                else:
                    for command in commands(block):
                        _done(command, folder, environment, name)
                        ran += 1
        finally:
            for process in behind:
                process.terminate()
                process.wait(_WAIT_S)
    return ran


def commands(block: Block) -> list[str | list[str]]:
    """What a block has run: lines of a shell, or a program; nothing of other languages."""
    if block.language == "python":
        return [[sys.executable, "-c", block.content]]
    if block.language != "sh":
        return []
    lines = block.content.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _done(command: str | list[str], folder: str, environment: dict[str, str], page: str) -> None:
    """Run one command; ``make`` runs in the project's folder, as a page about it says."""
    shown = command if isinstance(command, str) else "the Python example"
    start = time.monotonic()
    done = subprocess.run(command if isinstance(command, list) else ["bash", "-eo", "pipefail", "-c", command],
                          cwd=ROOT if shown.startswith("make") else folder, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_COMMAND_S, check=False)
    print(f"{page}: {shown} -> {done.returncode} in {time.monotonic() - start:.0f} s", flush=True)
    if done.returncode:
        raise Failed(done.stdout)


def _behind(block: Block, folder: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a command in the background, and wait until its address answers."""
    [command] = commands(block)
    log = Path(folder, ".behind.log")
    with log.open("wb") as file:
        process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=file,
                                   stderr=subprocess.STDOUT)
    start = time.monotonic()
    while process.poll() is None and time.monotonic() - start < _WAIT_S:
        try:
            urllib.request.urlopen(block.until, timeout=5).close()
            return process
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    process.kill()
    raise Failed(f"{command}: {block.until} did not answer\n{log.read_text(encoding='utf-8', errors='replace')}")


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def stand_ins(folder: Path) -> None:
    """Fill a cache in which tiny random models stand for the real ones, and the data sets are the real ones."""
    import json
    import shutil

    from scrimp.core import assets
    from scrimp.core.workspace import fingerprint
    from scrimp.examples.datasets import DATASETS

    real = {name: assets.obtain(name) for name in {DATASETS[one].asset for one in ("vader-films", "vader-tweets")}}

    def fill(asset: assets.Asset, into: Path, offline: bool) -> None:
        if asset.name in _MODELS:
            _MODELS[asset.name](into)
        else:
            shutil.copytree(real[asset.name], into, dirs_exist_ok=True)
        files = {path.name: fingerprint(path) for path in into.iterdir() if path.name != "asset.json"}
        (into / "asset.json").write_text(json.dumps({"files": files}))

    with mock.patch.dict(os.environ, SCRIMP_CACHE=str(folder)), mock.patch.object(assets, "_fill", fill):
        for name in (*_MODELS, *real):
            assets.obtain(name)


def main(asked: list[str]) -> None:
    """Run the pages that are named, or all, and tell how long each took."""
    pages = [Path(name).resolve() for name in asked] or list(PAGES)
    there = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    for page in pages:
        if page == README:
            _tell(page, there, least=8)
    others = [page for page in pages if page != README]
    if not others:
        return
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        stand_ins(Path(folder))
        alike = {**there, "SCRIMP_CACHE": folder, "OMP_NUM_THREADS": "1"}
        alike.pop("SCRIMP_WORKSPACE", None)
        list(pool.map(lambda page: _tell(page, alike), others))


def _tell(page: Path, environment: dict[str, str], *, least: int = 0) -> None:
    """Run a page and tell how long it took; ends the whole program where it fails."""
    start, name = time.monotonic(), page.relative_to(ROOT)
    try:
        ran = run(page, environment)
    except (Failed, subprocess.TimeoutExpired) as error:
        print(f"{name}: failed\n{error}", flush=True)
        os._exit(1)  # what else runs is of no use
    if ran < least:
        sys.exit(f"{name}: only {ran} commands were found")
    print(f"{name}: {ran} commands in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
