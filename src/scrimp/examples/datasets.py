"""Real data sets by name, ready to learn from: what the demo, the tests and the evidence lab run on."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scrimp.core.assets import obtain
from scrimp.core.errors import DataError, OptionError, nearest
from scrimp.core.workspace import atomic_write, fingerprint

__all__ = ["DATASETS", "Dataset", "sample"]

Pair = tuple[str, str]
_TEST_SHARE = 4  # one row in four, by its content, where a data set has no split of its own


@dataclass(frozen=True)
class Dataset:
    """A data set of texts with labels.

    Attributes:
        asset: what it is read from.
        about: one line.
        load: the asset's folder -> (train, test) rows of (text, label).
    """

    asset: str
    about: str
    load: Callable[[Path], tuple[list[Pair], list[Pair]]]


def _vader(file: str) -> Callable[[Path], tuple[list[Pair], list[Pair]]]:
    """Texts with a mean human rating from -4 to 4; its sign is the label, and rows rated zero are left out."""

    def load(folder: Path) -> tuple[list[Pair], list[Pair]]:
        train: list[Pair] = []
        test: list[Pair] = []
        for line in (folder / file).read_text(encoding="utf-8", errors="replace").splitlines():
            _, rating, text = line.split("\t", 2)
            if (value := float(rating)) and text.strip():
                pair = (text.strip(), "positive" if value > 0 else "negative")
                (train if int(fingerprint(text.encode())[:8], 16) % _TEST_SHARE else test).append(pair)
        return train, test

    return load


def _parted(name: str) -> Callable[[Path], tuple[list[Pair], list[Pair]]]:
    """Texts with a category, in the two files of the official split."""

    def load(folder: Path) -> tuple[list[Pair], list[Pair]]:
        return list(_tab(folder / f"{name}-train.tab")), list(_tab(folder / f"{name}-test.tab"))

    return load


def _tab(path: Path) -> Iterator[Pair]:
    """Rows of a tab-separated file with three header lines, the category first."""
    csv.field_size_limit(1 << 27)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for n, row in enumerate(csv.reader(file, delimiter="\t")):
            if n >= 3 and len(row) >= 2 and row[1].strip():
                yield row[1].replace("\0", " "), row[0]


DATASETS: dict[str, Dataset] = {
    "vader-films": Dataset("vader", "sentiment of sentences on films", _vader("movieReviewSnippets_GroundTruth.txt")),
    "vader-tweets": Dataset("vader", "sentiment of tweets", _vader("tweets_GroundTruth.txt")),
    "20newsgroups": Dataset("20newsgroups", "topic of newsgroup posts, 20 classes", _parted("20newsgroups")),
    "reuters-r8": Dataset("reuters-r8", "topic of newswire stories, 8 classes", _parted("reuters-r8")),
}


def sample(name: str, out: Path, *, per_class: int, test: int, seed: int = 0) -> tuple[Path, Path]:
    """Write ``per_class`` training rows of each label and ``test`` test rows as JSONL; returns both files.

    Raises:
        OptionError: if there is no data set of that name.
        DataError: if it has too few rows.
    """
    if name not in DATASETS:
        raise OptionError(f"there is no data set '{name}'; {nearest(name, DATASETS)}")
    train, held_out = DATASETS[name].load(obtain(DATASETS[name].asset))
    draw = random.Random(seed)
    chosen: list[Pair] = []
    for label in sorted({label for _, label in train}):
        rows = [pair for pair in train if pair[1] == label]
        if len(rows) < per_class:
            raise DataError(f"'{label}' has {len(rows)} training rows, {per_class} were asked for", where=name)
        chosen += draw.sample(rows, per_class)
    draw.shuffle(chosen)
    tested = draw.sample(held_out, min(test, len(held_out)))
    return _write(Path(out) / "train.jsonl", chosen), _write(Path(out) / "test.jsonl", tested)


def _write(path: Path, pairs: list[Pair]) -> Path:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in pairs]
    atomic_write(path, "\n".join(lines) + "\n")
    return path
