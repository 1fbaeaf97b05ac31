"""Whether what is tuned on both paths is equally good: two tasks, on rows that were not trained on."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrimp.checkpoints.loading import resolve
from scrimp.core.budget import Meter
from scrimp.core.ledger import Ledger
from scrimp.core.progress import quiet
from scrimp.evaluation.metrics import Accuracy, ExactMatch, Metric, Prediction, Row
from scrimp.examples.datasets import sample
from scrimp.examples.formats import read
from scrimp.examples.records import Examples, Layout
from scrimp.planning.rungs import Base, TunedRung
from scrimp.tuning.plan import TunePlan

__all__ = ["TASKS", "quality"]

@dataclass(frozen=True)
class Task:
    """What is tuned for.

    Attributes:
        what: in words.
        metric: of the rows that are tested.
        epochs: of the training.
        rows: (seed, rows to test) -> rows to train on, rows to test.
    """

    what: str
    metric: Metric
    epochs: int
    rows: Callable[[int, int], tuple[Examples, Examples]]


def quality(seeds: int = 3, tested: int = 300, share: float = 1.0) -> dict[str, Any]:
    """Each task's metric on both paths by seed, and how much higher it is on the fast path, paired by row.

    Args:
        seeds: trainings of each task on each path; rows and their order are drawn by the seed.
        tested: rows of each test.
        share: of the rows that are trained on.
    """
    found = {}
    for name, task in TASKS.items():
        predictions: dict[str, list[Prediction]] = {"fast": [], "usual": []}
        every: list[Row] = []
        for seed in range(seeds):
            train, test = task.rows(seed, tested)
            few = train.subset(range(round(share * len(train))))
            for path, said in predictions.items():
                said += _predicted(few, test, seed, epochs=task.epochs, fast=path == "fast")
            every += test.rows
        ahead = task.metric.compare(predictions["usual"], predictions["fast"], every)
        parts = [slice(start, start + tested) for start in range(0, len(every), tested)]
        found[name] = {"what": task.what, "metric": task.metric.name, "tested": tested, "ahead": ahead.model_dump(),
                       **{path: [task.metric.measure(said[part], every[part]).value for part in parts]
                          for path, said in predictions.items()}}
    return found


def _predicted(train: Examples, test: Examples, seed: int, *, epochs: int, fast: bool) -> list[Prediction]:
    base = Base(resolve("smollm2-135m"), train, instruction=None)
    plan = TunePlan.parse({"adapter": "lora", "rank": 8, "learning_rate": 5e-4, "schedule": "cosine", "seed": seed,
                           "epochs": epochs, "fast": fast})
    with tempfile.TemporaryDirectory() as folder, quiet():
        rung = TunedRung(base, plan, ledger=Ledger(Path(folder) / "ledger.jsonl"))
        return rung.fit(train, Path(folder), Meter()).predict(test, meter=Meter())


def _films(seed: int, tested: int) -> tuple[Examples, Examples]:
    with tempfile.TemporaryDirectory() as folder:
        train, test = map(read, sample("vader-films", Path(folder), per_class=32, test=tested, seed=seed))
    return train, test


def _sums(seed: int, tested: int) -> tuple[Examples, Examples]:
    draw = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < 400 + tested:
        numbers = [draw.randint(1, 60) for _ in range(draw.choice((2, 3)))]
        rows[f"Add up: {' + '.join(map(str, numbers))} ="] = str(sum(numbers))
    every = Examples(tuple({"prompt": prompt, "completion": answer} for prompt, answer in rows.items()), Layout.PROMPT,
                     tuple(map(str, range(len(rows)))))
    return every.subset(range(400)), every.subset(range(400, len(rows)))


TASKS = {"films": Task("sentiment of sentences on films, 64 rows four times", Accuracy(), 4, _films),
         "sums": Task("sums of two or three numbers, 400 rows twice", ExactMatch(), 2, _sums)}
