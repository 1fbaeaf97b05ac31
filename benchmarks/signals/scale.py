"""Passes over many rows: whether they end with the same arrays when they are killed, and what memory they take.

    python -m benchmarks.signals.scale [--rows 10000,100000] [--kills 5] [--encoder minilm] [--out FILE]

Rows are runs of words from newsgroup posts, all of them different. The lab's language model of 1.3 million parameters
measures their losses and the gradients of its last down projection; the encoder embeds them. Each pass runs in a
process of its own, on one thread: unbroken over either number of rows, and again over the larger, killed (SIGKILL) when
it has begun with numbers of rows that are drawn by chance. Memory is the largest that was resident, in MiB, mapped
pages of files included. What is measured is kept in FILE at once, and a benchmark that was stopped goes on with the
next signal.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scrimp.core.assets import obtain
from scrimp.core.workspace import Workspace, atomic_write
from scrimp.examples.datasets import DATASETS
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.examples.sequences import Viewed
from scrimp.signals import Signals
from scrimp.signals.passes import Found, Pass, local

WORDS = 8  #: of a row
PARAMETERS = r".*layers\.3\.mlp\.down_proj.*"
_LOOK_S = 0.05  # between two looks at how far a process is

ASKED: dict[str, Callable[[Signals, Examples], Any]] = {
    "gradients": lambda signals, rows: signals.gradients(signals.language().model, signals.encoded(rows),
                                                         parameters=PARAMETERS),
    "losses": lambda signals, rows: signals.losses(signals.language().model, signals.encoded(rows)),
    "embeddings": lambda signals, rows: signals.embeddings(rows),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000", help="two numbers, the larger last")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--encoder", default="minilm", help="'lab' is the language model, by its states")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--look", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        look(Look(*options.look))
        return
    report = Report(options.out, rows=list(map(int, options.rows.split(","))), kills=options.kills,
                    encoder=options.encoder)
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        files = [write(count, folder / f"{count}.jsonl") for count in report.told["rows"]]
        model = small_model(folder / "model")
        encoder = model if options.encoder == "lab" else options.encoder
        for name in (name for name in ASKED if name not in report.told["signals"]):
            looks = [Look(name, file, model, encoder, folder / name / file.stem) for file in files]
            report.add(name, compared(looks, options.kills))
    print(json.dumps(report.told, indent=1))


class Report:
    """What was measured, written down at once, and taken up again where it was asked for in the same way."""

    def __init__(self, file: Path | None, **asked: Any) -> None:
        self._file = file
        told = {"torch": version("torch"), "threads": 1, "words a row": WORDS, **asked}
        known = json.loads(file.read_text()) if file and file.exists() else {}
        self.told = known if {**known, "signals": {}} == {**told, "signals": {}} else {**told, "signals": {}}

    def add(self, name: str, found: dict[str, Any]) -> None:
        self.told["signals"][name] = found
        if self._file:
            atomic_write(self._file, json.dumps(self.told, indent=1) + "\n")


class Look(NamedTuple):
    """One pass of a process."""

    name: str
    rows: Path | str
    model: Path | str
    encoder: Path | str
    folder: Path | str

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.signals.scale", "--look", *map(str, self)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    @property
    def begun(self) -> Path:
        """The file that tells with how many rows each batch was begun."""
        return Path(self.folder) / "begun"

    @property
    def rows_begun(self) -> int:
        return sum(map(int, self.begun.read_text().split())) if self.begun.exists() else 0

    def array(self, part: str) -> np.ndarray:
        """What the workspace holds."""
        file, = Path(self.folder).glob(f"*.*-*/{part}.npy")
        return np.load(file, mmap_mode="r")


def write(count: int, path: Path) -> Path:
    """So many runs of words, in a file of rows; the same first ones whatever the number."""
    train, test = DATASETS["20newsgroups"].load(obtain("20newsgroups"))
    posts = [text.split() for text, _ in train + test]
    runs = sorted({" ".join(post[at:at + WORDS]) for post in posts for at in range(0, len(post) - WORDS + 1, WORDS)})
    drawn = np.random.default_rng(0).permutation(len(runs))[:count]
    if len(drawn) < count:
        raise SystemExit(f"there are {len(runs)} different rows only")
    atomic_write(path, "".join(json.dumps({"text": runs[i]}) + "\n" for i in drawn))
    return path


def small_model(folder: Path) -> Path:
    """The lab's language model, as any checkpoint is."""
    from scrimp.evidence.lab import Lab

    Lab(0).language_model().save_pretrained(folder)  # type: ignore[operator]
    Lab(0).tokenizer().save_pretrained(folder)
    return folder


def compared(looks: Sequence[Look], kills: int) -> dict[str, Any]:
    """Both unbroken runs and the killed one, and whether the latter ends with the same bits."""
    few, many = (ended(one.start()) for one in looks)
    whole, began = looks[-1], time.monotonic()
    broken = whole._replace(folder=Path(whole.folder).with_name("killed"))
    rows = whole.rows_begun
    moments = sorted(random.Random(whole.name).sample(range(rows - rows // 10), kills))  # and not while it ends
    for moment in moments:
        kill(broken, moment)
    last = ended(broken.start())
    same = all(np.array_equal(whole.array(part).view(kind), broken.array(part).view(kind))
               for part, kind in (("values", np.uint32), ("starts", np.int64), ("keys", np.uint8)))
    return {"unbroken": [few, many], "growth of the peak": many["peak"] / few["peak"] - 1,
            "killed": {"after rows": moments, "seconds": time.monotonic() - began, "peak of the last": last["peak"],
                       "rows computed again": broken.rows_begun - rows, "same bits": same}}


def kill(look: Look, moment: int) -> None:
    """Start a process, and end it by SIGKILL as soon as so many rows were begun with."""
    process = look.start()
    while look.rows_begun <= moment:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended before it was killed")
        time.sleep(_LOOK_S)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def ended(process: subprocess.Popen[str]) -> dict[str, float]:
    """What a process tells at its end."""
    told = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return json.loads(told)


def look(asked: Look) -> None:
    """In a process of its own: one pass; its seconds, and its memory."""
    import torch

    torch.set_num_threads(1)
    began = time.monotonic()
    workspace = Workspace(asked.folder)
    signals = Signals(str(asked.encoder), model=str(asked.model), workspace=workspace, engine=noting(asked.begun))
    ASKED[asked.name](signals, read(asked.rows))
    print(json.dumps({"seconds": time.monotonic() - began, "seconds of the processor": time.process_time(),
                      **memory()}))


def noting(file: Path) -> Callable[[Pass[Any], Sequence[Sequence[Any]]], Generator[tuple[int, Found]]]:
    """The local engine, which writes down how many rows it begins with."""
    def begin(batch: Sequence[Any]) -> Sequence[Any]:
        with file.open("a") as log:
            log.write(f"{len(batch)}\n")
        return batch

    return lambda work, batches: local(work, Viewed(batches, begin))


def memory() -> dict[str, float]:
    """MiB: the most that was resident, and what is now, of the process's own and of files."""
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE))
    return {part: int(told[name]) / 1024 for part, name in (
        ("peak", "VmHWM"), ("own at the end", "RssAnon"), ("of files at the end", "RssFile"))}


if __name__ == "__main__":
    main()
