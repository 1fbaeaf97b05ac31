"""How well wrong labels are found beside cleanlab, in real rows of which some are given wrong labels.

    python -m benchmarks.selection.labelnoise [--seeds 7000-7004] [--out benchmarks/selection/labelnoise.json]

Both judge the same rows twice: by the same probabilities, which are out of fold, and each as it comes, on the same
features. A seed draws rows, mistakes and folds. cleanlab names a set of rows; every ranking is told by its precision
where it has found as many of the mistakes as this set holds, and by its average precision. What is measured is kept in
the file at once, and a benchmark that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from scrimp.core.assets import cache, obtain
from scrimp.core.registry import build
from scrimp.core.workspace import atomic_write
from scrimp.data.selection.labelnoise import label_trust
from scrimp.data.selection.outoffold import out_of_fold
from scrimp.evaluation.statistics import t_interval
from scrimp.examples.datasets import DATASETS
from scrimp.examples.formats import read

ROWS = 1200  # that a seed draws of a pool, and the rows of a pool that is larger than that, of each label in turn
_POOL = 2400
_TOKENS = 64  # of a text that the encoder reads
_FOLDS = 5
_MOST = 0.4  # the share of a label's rows that are mistaken, where labels differ

Rows = tuple[np.ndarray, np.ndarray]
Flip = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def digits() -> Rows:
    """Pixels of handwritten digits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.data / np.linalg.norm(found.data, axis=1, keepdims=True), found.target


def texts(name: str) -> Rows:
    """Unit MiniLM features of texts of a data set, as many of each label as there are rows for; kept in the cache."""
    train, _ = DATASETS[name].load(obtain(DATASETS[name].asset))
    names = sorted({label for _, label in train})
    rows = [[text for text, label in train if label == one] for one in names]
    drawn = [[of[i] for i in np.random.default_rng(0).permutation(len(of))[:_POOL // len(names)]] for of in rows]

    def make(folder: Path) -> None:
        from scrimp.checkpoints.loading import load, resolve
        from scrimp.signals.embeddings import embed_texts

        found = embed_texts(load(resolve("minilm"), dtype="float32"), [text for of in drawn for text in of],
                            max_tokens=_TOKENS)
        np.save(folder / "features.npy", found / np.linalg.norm(found, axis=1, keepdims=True))

    folder = cache().step("benchmark-labelled", [name, _POOL, _TOKENS], make)
    return (np.load(folder / "features.npy", allow_pickle=False).astype(np.float64),
            np.repeat(np.arange(len(names)), [len(of) for of in drawn]))


POOLS: dict[str, Callable[[], Rows]] = {
    "digits, pixels": digits, "newsgroup posts, MiniLM": partial(texts, "20newsgroups"),
    "film sentences, MiniLM": partial(texts, "vader-films"),
}


def uniform(share: float) -> Flip:
    """A share of the labels becomes another one, by chance."""
    def flip(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        classes = int(labels.max()) + 1
        other = (labels + rng.integers(1, classes, len(labels))) % classes
        return np.where(rng.random(len(labels)) < share, other, labels)

    return flip


def by_class(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each label becomes one other one, in a share of its rows that is its own."""
    classes = int(labels.max()) + 1
    circle, shares = rng.permutation(classes), rng.uniform(0, _MOST, classes)
    other = np.empty(classes, dtype=labels.dtype)
    other[circle] = np.roll(circle, 1)
    return np.where(rng.random(len(labels)) < shares[labels], other[labels], labels)


FLIPS: dict[str, Flip] = {"uniform, 10 %": uniform(0.1), "uniform, 20 %": uniform(0.2), "uniform, 40 %": uniform(0.4),
                          "by class, 0 to 40 %": by_class}


def measured(out: Path, seeds: list[int]) -> dict[str, Any]:
    """Everything, with what ``out`` already holds of the same measuring."""
    here: dict[str, Any] = {
        "settings": {"rows": ROWS, "seeds": seeds, "folds": _FOLDS},
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("cleanlab", "scikit-learn", "numpy")}}
    before = json.loads(out.read_text()) if out.exists() else {}
    found = before if before.items() >= here.items() else {**here, "runs": {}}
    for pool, made in POOLS.items():
        rows = made()
        for name, flip in FLIPS.items():
            runs = found["runs"].setdefault(pool, {}).setdefault(name, {})
            for seed in seeds:
                if str(seed) not in runs:
                    runs[str(seed)] = one(*rows, flip, seed)
                    atomic_write(out, (json.dumps(found, indent=1) + "\n").encode())
    return found


def one(features: np.ndarray, labels: np.ndarray, flip: Flip, seed: int) -> dict[str, Any]:
    """Both ways of judging the rows that the seed draws."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(labels))[:ROWS]
    features, labels = features[drawn], labels[drawn]
    given = flip(labels, rng)
    wrong = given != labels
    return {"mistaken": float(wrong.mean()),
            "same probabilities": same(out_of_fold(features, given, folds=_FOLDS, seed=seed), given, wrong),
            "each as it comes": apiece(features, given, wrong, seed)}


def same(probabilities: np.ndarray, given: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores as quality

    named = find_label_issues(given, probabilities, n_jobs=1)
    return told(wrong, named, {
        "scrimp": label_trust(probabilities, given), "cleanlab": quality(given, probabilities),
        "cleanlab, adjusted": quality(given, probabilities, adjust_pred_probs=True),
        "cleanlab, normalized margin": quality(given, probabilities, method="normalized_margin"),
        "cleanlab, weighted entropy": quality(given, probabilities, method="confidence_weighted_entropy")})


def apiece(features: np.ndarray, given: np.ndarray, wrong: np.ndarray, seed: int) -> dict[str, Any]:
    from cleanlab.classification import CleanLearning

    pool = read([{"text": str(i), "label": f"{label:02}"} for i, label in enumerate(given.tolist())])
    signals: Any = SimpleNamespace(embeddings=lambda rows: features)
    with warnings.catch_warnings(action="ignore"):
        began = time.perf_counter()
        ours = build("selection", "label-noise").select(pool, 0, signals=signals, seed=seed).scores
        halfway = time.perf_counter()
        found = CleanLearning(seed=seed, find_label_issues_kwargs={"n_jobs": 1}).find_label_issues(features, given)
        ended = time.perf_counter()
    return {**told(wrong, found["is_label_issue"].to_numpy(),
                   {"scrimp": ours, "cleanlab": found["label_quality"].to_numpy()}),
            "seconds": {"scrimp": halfway - began, "cleanlab": ended - halfway}}


def told(wrong: np.ndarray, named: np.ndarray, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Of cleanlab's set and of each ranking, lowest scores first."""
    found = int((wrong & named).sum())
    rankings = {name: {"average precision": float(average_precision_score(wrong, -score)),
                       "precision": precision_at(wrong, score, found)} for name, score in scores.items()}
    return {"named": {"recall": found / int(wrong.sum()), "precision": found / max(int(named.sum()), 1)},
            "rankings": rankings}


def precision_at(wrong: np.ndarray, scores: np.ndarray, found: int) -> float:
    """The share of mistakes among the rows with the lowest scores, as few as hold ``found`` of them."""
    hits = wrong[np.argsort(scores, kind="stable")].cumsum()
    return found / (int(np.searchsorted(hits, found)) + 1) if found else 1.0


def compared(runs: Mapping[str, Any], way: str) -> dict[str, tuple[list[float], list[float]]]:
    """By seed, what scrimp reaches and what each of its peers does, under "measure, peer"."""
    each = [run[way] for run in runs.values()]
    ours = {measure: [run["rankings"]["scrimp"][measure] for run in each]
            for measure in ("precision", "average precision")}
    found = {"precision, cleanlab's set": (ours["precision"], [run["named"]["precision"] for run in each])}
    return found | {f"{measure}, {peer}": (ours[measure], [run["rankings"][peer][measure] for run in each])
                    for measure in ours for peer in each[0]["rankings"] if peer != "scrimp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="7000-7004", help="first-last")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("labelnoise.json"))
    asked = parser.parse_args()
    first, last = map(int, asked.seeds.split("-"))
    for pool, flips in measured(asked.out, [*range(first, last + 1)])["runs"].items():
        for flip, runs in flips.items():
            for way in ("same probabilities", "each as it comes"):
                print(f"{pool}, {flip}, {way}")
                for name, (ours, theirs) in compared(runs, way).items():
                    low, high = t_interval(np.subtract(ours, theirs).tolist())
                    print(f"  {name:46} {np.mean(ours):.3f} {np.mean(theirs):.3f}  {low:+.3f} to {high:+.3f}")


if __name__ == "__main__":
    main()
