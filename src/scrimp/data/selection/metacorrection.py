"""A selector that learns from few clean rows how to put the labels of the others right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.special import expit, softmax

from scrimp.core.errors import OptionError
from scrimp.core.registry import preset
from scrimp.data.selection.scored import Scored
from scrimp.data.selection.target import demanded
from scrimp.examples.records import Layout

if TYPE_CHECKING:
    from scrimp.examples.records import Examples
    from scrimp.signals import Signals

__all__ = ["Correction", "MetaCorrection", "Teacher", "meta_correct"]



class MetaCorrection(Scored):
    """Score a labelled row by the probability of its label, as a teacher corrects it for a student.

    A student, linear on embeddings, learns the pool with the labels that a teacher corrects; the teacher learns what
    makes the student do well on clean rows, those of the target. With ``p`` what the student says, ``q`` the corrected
    labels and ``X`` the embeddings of a batch of B rows, the student steps to ``W' = W - rate X^T (p - q) / B``. This
    is linear in q, so the gradient of the clean loss L through the step is exact with one backward pass and no second
    derivative: ``dL(W') / dq = (rate / B) X dL/dW'``.

    The teacher keeps a row's label with a probability and else gives its own answer: ``q = k y + (1 - k) softmax(V x)``
    with ``k = sigmoid(u_y . x + b_y)``. Beside the gradient above, V learns the clean labels, and u learns to tell
    clean rows from the same with labels by chance.

    Taraday and Baskin 2023, "Enhanced Meta Label Correction for Coping with Label Corruption", who train networks and
    look several steps ahead.

    Attributes:
        steps: of student and teacher.
        batch: rows of a step.
        rate: the student's learning rate.
        teacher_rate: the teacher's, of Adam.
    """

    steps: int = Field(default=600, ge=1)
    batch: int = Field(default=128, ge=1)
    rate: float = Field(default=4.0, gt=0)
    teacher_rate: float = Field(default=0.02, gt=0)

    def score(self, pool: Examples, *, signals: Signals, target: Examples | None, seed: int) -> np.ndarray:
        clean = demanded(target, self.name)
        if Layout.LABEL is not pool.layout or Layout.LABEL is not clean.layout:
            raise OptionError("only labels can be wrong labels", where="layout",
                              fix="give texts with labels, and a target of such with right ones")
        names = sorted({*pool.labels, *clean.labels})
        given, right = (np.array([names.index(row["label"]) for row in rows.rows]) for rows in (pool, clean))
        found = self.correct(self.embedded(pool, signals), given, self.embedded(clean, signals), right, len(names),
                             seed=seed)
        return found.corrected[np.arange(len(given)), given]

    def correct(self, x: np.ndarray, given: np.ndarray, clean_x: np.ndarray, clean_y: np.ndarray, classes: int, *,
                seed: int = 0) -> Correction:
        """See `meta_correct`."""
        return meta_correct(x, given, clean_x, clean_y, classes, steps=self.steps, batch=self.batch, rate=self.rate,
                            teacher_rate=self.teacher_rate, seed=seed)

    def passes(self) -> dict[str, float]:
        return {"embeddings": 1.0}


@dataclass(frozen=True)
class Correction:
    """What came of student and teacher.

    Attributes:
        corrected: float64 [N, C], the corrected labels of the pool.
        student: float64 [D + 1, C], whose last row is added to what rows make of the others.
    """

    corrected: np.ndarray
    student: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The student's class of each row, int64 [N]."""
        return (_with_one(x) @ self.student).argmax(axis=1)


@dataclass(frozen=True)
class Teacher:
    """What corrects labels: ``own`` [D, C] answers, and ``keeps`` [D, C] says whether a label is kept."""

    own: np.ndarray
    keeps: np.ndarray

    def correct(self, x: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Labels [B, C] of rows x [B, D] that bear ``given``."""
        kept, answers = self._parts(x, given)
        return kept * np.eye(answers.shape[1])[given] + (1 - kept) * answers

    def gradients(self, x: np.ndarray, given: np.ndarray, of_labels: np.ndarray) -> list[np.ndarray]:
        """Of own and keeps, where that of the corrected labels is ``of_labels`` [B, C]."""
        kept, answers = self._parts(x, given)
        own = (1 - kept) * answers * (of_labels - (of_labels * answers).sum(axis=1, keepdims=True))
        chosen = np.eye(answers.shape[1])[given]
        keeps = (of_labels * (chosen - answers)).sum(axis=1, keepdims=True) * kept * (1 - kept) * chosen
        return [x.T @ own, x.T @ keeps]

    def supervised(self, x: np.ndarray, right: np.ndarray, chance: np.ndarray) -> list[np.ndarray]:
        """Of the mean losses on clean rows: of the answer, and of keeping the right labels and no others.

        Args:
            chance: other labels of the same rows, some of them right by accident.
        """
        answered = (softmax(x @ self.own, axis=1) - np.eye(self.own.shape[1])[right]) / len(x)
        keeps = self._keeping(x, right, np.ones(len(x))) + self._keeping(x, chance, chance == right)
        return [x.T @ answered, keeps / (2 * len(x))]

    def _parts(self, x: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probability that each label is kept [B, 1], and the teacher's own answers [B, C]."""
        return expit((x @ self.keeps)[np.arange(len(x)), given])[:, None], softmax(x @ self.own, axis=1)

    def _keeping(self, x: np.ndarray, labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        wrong = expit((x @ self.keeps)[np.arange(len(x)), labels]) - wanted
        return x.T @ (wrong[:, None] * np.eye(self.keeps.shape[1])[labels])


def meta_correct(x: np.ndarray, given: np.ndarray, clean_x: np.ndarray, clean_y: np.ndarray, classes: int, *,
                 steps: int, batch: int, rate: float, teacher_rate: float, seed: int = 0) -> Correction:
    """Train student and teacher; see `MetaCorrection`.

    Args:
        x: float [N, D], rows about one long, with labels ``given`` [N], some of them wrong.
        clean_x: float [M, D], with right labels ``clean_y`` [M].
        classes: how many labels there are.
        seed: of batches and of labels by chance.
    """
    import torch

    rng, x, clean_x = np.random.default_rng(seed), _with_one(x), _with_one(clean_x)
    student = np.zeros((x.shape[1], classes))
    teacher = Teacher(np.zeros_like(student), np.zeros_like(student))
    moving = [torch.from_numpy(weights) for weights in (teacher.own, teacher.keeps)]  # the same memory
    adam = torch.optim.Adam(moving, lr=teacher_rate)
    for _ in range(steps):
        rows, clean = rng.integers(len(x), size=batch), rng.integers(len(clean_x), size=batch)
        labels = teacher.correct(x[rows], given[rows])
        student = student - rate * x[rows].T @ (softmax(x[rows] @ student, axis=1) - labels) / batch
        missed = softmax(clean_x[clean] @ student, axis=1) - np.eye(classes)[clean_y[clean]]
        upward = clean_x[clean].T @ missed / batch
        through = teacher.gradients(x[rows], given[rows], rate / batch * (x[rows] @ upward))
        taught = teacher.supervised(clean_x[clean], clean_y[clean], rng.integers(classes, size=batch))
        for weights, one, other in zip(moving, through, taught, strict=True):
            weights.grad = torch.from_numpy(one + other)
        adam.step()
    return Correction(teacher.correct(x, given), student)


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


preset("emlc", MetaCorrection, papers=(152,))
