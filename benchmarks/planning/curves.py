"""Do the intervals of learning curves hold what came? Measured on real texts under heads on frozen features.

    python -m benchmarks.planning.curves [--part held-out] [--out benchmarks/planning/results.json]

Of each task and seed, heads are fitted on parts of the rows, and their error and log-loss are measured on test rows. A
law is fitted to what the first N rows gave, of which parts are learned from as `fit` does, and is asked for two and
four times as many. Of all such questions the share is told whose answer lies in the 95 % interval, and how wide
intervals are: half the width over the answer. What is expected of a learning curve before it is seen (the options of
the preset, and of any law what it tends to and what was learned before) was chosen on the tasks of "tuning"; those of
"held-out" were never looked at for it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scrimp.core.assets import cache
from scrimp.core.registry import build
from scrimp.core.workspace import atomic_write
from scrimp.evidence import Lab
from scrimp.planning.curves import Point
from scrimp.planning.outlook import MOST_PARTS, sizes
from scrimp.serving.heads import LabelHead

TASKS: Mapping[str, Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "tuning": {
        "films": ("vader-films", ()),
        "computers": ("20newsgroups", ("comp.",)),
        "vehicles": ("20newsgroups", ("rec.autos", "rec.motorcycles")),
        "sciences": ("20newsgroups", ("sci.",)),
    },
    "held-out": {
        "tweets": ("vader-tweets", ()),
        "politics": ("20newsgroups", ("talk.",)),
        "beliefs": ("20newsgroups", ("alt.atheism", "soc.religion.christian")),
        "pastimes": ("20newsgroups", ("rec.",)),
        "systems": ("20newsgroups", ("comp.sys.mac.hardware", "comp.windows.x")),
    },
}
SEEDS = (0, 1)
FEATURES = ("minilm", "words")
FITTED = (32, 64, 128, 256)  # rows that a law knows of
FURTHER = (2, 4)  # times as many it is asked for
_TEST = 1000
_LARGEST = FITTED[-1] * FURTHER[-1]
_SIZES = [2**power for power in range(1, 30) if 2**power <= _LARGEST]
LAW = "learning-curve"

Curve = list[tuple[int, int, float]]  # rows, number of the part, value


@dataclass(frozen=True)
class Rows:
    """Features of the rows of a task in the order of a seed, the classes, and the same of test rows."""

    x: Any
    y: np.ndarray
    test_x: Any
    test_y: np.ndarray


def rows_of(name: str, kept: Sequence[str], features: str, seed: int) -> Rows:
    texts, test_texts = (_texts(name, kept, part) for part in ("train", "test"))
    draw = np.random.default_rng(seed)
    train = [texts[i] for i in draw.permutation(len(texts))[:_LARGEST]]
    test = [test_texts[i] for i in np.random.default_rng(0).permutation(len(test_texts))[:_TEST]]
    x, test_x = _embedded(train, test) if features == "minilm" else _counted(train, test)
    return Rows(x, np.array([label for _, label in train]), test_x, np.array([label for _, label in test]))


def _texts(name: str, kept: Sequence[str], part: str) -> list[tuple[str, str]]:
    from scrimp.core.assets import obtain
    from scrimp.examples.datasets import DATASETS

    found = DATASETS[name].load(obtain(DATASETS[name].asset))[part == "test"]
    return [pair for pair in found if not kept or pair[1].startswith(tuple(kept))]


def _embedded(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Frozen features as the product makes them, but of shorter texts."""
    from scrimp.signals.embeddings import embed_texts

    encoder = Lab(0).minilm()
    found = []
    for rows in (train, test):
        x = embed_texts(encoder, [text for text, _ in rows], max_tokens=64, cache=cache().root / "benchmark-curves")
        found.append(x / np.linalg.norm(x, axis=1, keepdims=True))
    return found[0], found[1]


def _counted(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> tuple[Any, Any]:
    """Word counts; the words are those of the largest part, whose labels are not looked at."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counter = TfidfVectorizer(sublinear_tf=True, max_features=20_000)
    return counter.fit_transform([text for text, _ in train]), counter.transform([text for text, _ in test])


def measured(rows: Rows, seed: int) -> dict[str, Curve]:
    """Error and log-loss of heads on parts of the rows."""
    classes = sorted(set(rows.test_y.tolist()))
    found: dict[str, Curve] = {"error": [], "log-loss": []}
    for size in _SIZES:
        for part in range(min(MOST_PARTS, len(rows.y) // size)):
            learned = slice(part * size, (part + 1) * size)
            if len(set(rows.y[learned].tolist())) < 2:
                continue
            head = LabelHead.fit(rows.x[learned], rows.y[learned].tolist(), seed=seed)
            odds = np.full((len(rows.test_y), len(classes)), -20.0)
            odds[:, [classes.index(label) for label in head.labels]] = head.values(rows.test_x)
            odds -= np.logaddexp.reduce(odds, axis=1, keepdims=True)
            true = np.array([classes.index(label) for label in rows.test_y])
            wrong = np.mean(odds.argmax(axis=1) != true)
            found["error"].append((size, part, max(float(wrong), 0.5 / len(true))))
            found["log-loss"].append((size, part, -float(odds[np.arange(len(true)), true].mean())))
    return found


def curves(part: str) -> Iterator[tuple[str, int, Curve]]:
    """Every curve of a part with its name and number of labels; measured once."""
    for task, (name, kept) in TASKS[part].items():
        labels = len({label for _, label in _texts(name, kept, "test")})
        for features in FEATURES:
            for seed in SEEDS:
                def make(folder: Path, asked: tuple[Any, ...] = (name, kept, features, seed)) -> None:
                    atomic_write(folder / "curves.json", json.dumps(measured(rows_of(*asked), asked[-1])))

                step = cache().step("benchmark-curves", [name, kept, features, seed, _SIZES, MOST_PARTS, _TEST], make)
                for measure, curve in json.loads((step / "curves.json").read_text()).items():
                    yield f"{task}, {features}, {measure}", labels, [tuple(one) for one in curve]


def asked(curve: Curve, labels: int, **options: Any) -> Iterator[dict[str, Any]]:
    """What a law says of more rows than it was fitted to, beside what they gave."""
    for known in FITTED:
        if not (learned := sizes(known, labels)):
            continue
        points = [Point({"rows": size}, value) for size, part, value in curve
                  if size in learned and (part + 1) * size <= known]
        law = build("curve", LAW, options).fit(points)
        last = next(value for size, part, value in curve if (size, part) == (known, 0))
        for times in FURTHER:
            came = next(value for size, part, value in curve if (size, part) == (known * times, 0))
            told = law.predict({"rows": known * times})
            yield {"known": known, "times": times, "came": came, "last": last,
                   "told": told.value, "low": told.low, "high": told.high}


def summary(answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Coverage, width, and how far the medians lie off, beside the guess that nothing changes."""
    held = [one["low"] <= one["came"] <= one["high"] for one in answers]
    width = [(one["high"] - one["low"]) / 2 / one["told"] for one in answers]
    off, same = ([abs(np.log(one[what] / one["came"])) for one in answers] for what in ("told", "last"))
    return {"questions": len(held), "coverage": round(float(np.mean(held)), 4),
            "half width": round(float(np.median(width)), 4), "off": round(float(np.mean(off)), 4),
            "off if nothing changes": round(float(np.mean(same)), 4)}


def run(part: str, **options: Any) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []
    seconds = []
    for name, labels, curve in curves(part):
        began = time.process_time()
        answers += [{"curve": name, **answer} for answer in asked(curve, labels, **options)]
        seconds.append((time.process_time() - began) / len(FITTED))
    slices = {f"{times} times as many": [one for one in answers if one["times"] == times] for times in FURTHER}
    slices |= {f"{times} times as many, {measure}": [one for one in rows if one["curve"].endswith(measure)]
               for times, rows in ((times, slices[f"{times} times as many"]) for times in FURTHER)
               for measure in ("error", "log-loss")}
    slices |= {task: [one for one in answers if one["curve"].startswith(task)] for task in TASKS[part]}
    slices |= {f"{known} rows known": [one for one in answers if one["known"] == known] for known in FITTED}
    return {"processor seconds a fit": round(float(np.median(seconds)), 3), "all": summary(answers),
            **{name: summary(rows) for name, rows in slices.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=tuple(TASKS), action="append")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    for part in given.part or TASKS:
        found[part] = run(part)
        print(json.dumps({part: found[part]}, indent=1), flush=True)
    found["law"] = build("curve", LAW).model_dump(mode="json")
    atomic_write(given.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
