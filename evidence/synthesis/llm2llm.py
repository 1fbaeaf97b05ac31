"""More of what a student gets wrong teaches it more than more of anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from scrimp.core.registry import build
from scrimp.data.synthesis import LanguageModel, Student
from scrimp.domains.vision import Fitting, fit_classifier, logits_of
from scrimp.evidence import Lab, claim
from scrimp.examples.formats import read
from scrimp.examples.records import Examples


@claim(
    papers=(6,),
    says="A student is asked easy questions about two numbers, the tens of one, and half as many hard ones, the tens "
         "of their sum. As many that a teacher adds to a few raise its accuracy more if they are like those that it "
         "gets wrong than if they are like any of them by chance, and more than no teacher.",
    holds_if=("accuracy: errors > chance", "accuracy: errors > seeds"),
    arms={"errors": {"name": "llm2llm"}, "chance": {"name": "teacher-at-random"}, "seeds": {"name": None}},
    search={"learning_rate": (3e-2, 1e-1, 3e-1)}, tuned_for="accuracy", better="higher",
    methods=("synthesis/llm2llm", "synthesis/teacher-at-random"),
    unequal="the teacher's questions are what is scarce, and are as many; to find its errors, a student is trained "
            "anew in each of the six rounds",
    minutes=3,
)
def llm2llm(lab: Lab, *, name: str | None, learning_rate: float) -> dict[str, float]:
    seeds, most = asked(lab.rng, lab.scale(1000, 40)), lab.scale(500, 20)
    grown, teach = seeds, student(lab, learning_rate)
    if name is not None:
        method = build("synthesis", name, {"rounds": 6, "each": 2, "novelty": 1.0})
        grown = method.grow(seeds, student=teach, llm=teacher(lab.seed), seed=lab.seed)
    grown = grown.subset(range(min(len(grown), len(seeds) + most)))
    test = asked(np.random.default_rng([lab.seed, 1]), lab.scale(3000, 40))
    right = [said == row["label"] for said, row in zip(teach(grown)(test.rows), test.rows, strict=True)]
    return {"accuracy": float(np.mean(right)), "added": float(len(grown) - len(seeds))}


STEPS, BATCH = 300, 64


def student(lab: Lab, learning_rate: float) -> Student:
    """A network over the digits, too small to learn all by heart; trained from its beginning each time."""
    def train(examples: Examples):  # type: ignore[no-untyped-def]
        with torch.random.fork_rng():
            torch.manual_seed(lab.seed)
            model = nn.Sequential(nn.Linear(42, 24), nn.ReLU(), nn.Linear(24, 10))
        labels = np.array([int(row["label"]) for row in examples.rows])
        steps = lab.scale(STEPS, 5)
        lab.spent(backward=steps * BATCH)
        fit_classifier(model, digits(examples.rows), labels,
                       Fitting(steps=steps, batch_size=BATCH, learning_rate=learning_rate), seed=lab.seed)
        return lambda rows: [str(label) for label in logits_of(model, digits(rows)).argmax(axis=1)]

    return train


def teacher(seed: int) -> LanguageModel:
    """It asks the same of other numbers that have the same ones, and answers rightly."""
    rng = np.random.default_rng([seed, 2])

    def answer(prompts: Sequence[str]) -> list[str]:
        shown = [json.loads(re.findall(r"^\{.*\}$", prompt, re.MULTILINE)[0])["text"] for prompt in prompts]
        parts = [re.fullmatch(r"(\w+) of (\d+) and (\d+)", text).groups()  # type: ignore[union-attr]
                 for text in shown]
        return [json.dumps(question(what, *(10 * rng.integers(10, size=2) + [int(a) % 10, int(b) % 10]).tolist()))
                for what, a, b in parts]

    return answer


def asked(rng: np.random.Generator, count: int) -> Examples:
    """Questions of the three kinds, on numbers below a hundred."""
    pairs = rng.integers(100, size=(count, 2)).tolist()
    return read([question(("first", "second", "sum")[i % 3], *pair) for i, pair in enumerate(pairs)], layout="label")


def question(what: str, a: int, b: int) -> dict[str, str]:
    """A question and its answer, a digit."""
    number = {"first": a, "second": b, "sum": a + b}[what]
    return {"text": f"{what} of {a} and {b}", "label": str(number // 10 % 10)}


def digits(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Float32 [N, 42]: what is asked, and which digit stands at each of four places."""
    kind = np.array([[row["text"].startswith(what) for what in ("second", "sum")] for row in rows], dtype=np.float32)
    numbers = np.array([[int(number) for number in re.findall(r"\d+", row["text"])] for row in rows])
    places = np.concatenate([numbers // 10, numbers % 10], axis=1)
    return np.concatenate([kind, np.eye(10, dtype=np.float32)[places].reshape(len(rows), 40)], axis=1)
