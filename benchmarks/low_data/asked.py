"""What a way is asked, on its own side: rows to learn from, texts to answer, and when it must have done so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Asked", "paced"]

PROBED = 16  #: texts that are answered to tell how long all will take


@dataclass(frozen=True)
class Asked:
    """What a way is asked.

    Attributes:
        train: (text, label) or (prompt, answer).
        test: what to answer; the right answers stay with the one who asks.
        labelled: whether the answer is one of the labels of ``train``.
        seed: of every random choice.
        until: when it must be done, in seconds of `time.time`.
        threads: that it may compute with.
        models: folders of the models that are at hand, by name.
        notes: what the way wants told with what it reached.
    """

    train: list[tuple[str, str]]
    test: list[str]
    labelled: bool
    seed: int
    until: float
    threads: int
    models: dict[str, str]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.time()

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.train]

    @property
    def answers(self) -> list[str]:
        return [answer for _, answer in self.train]

    @property
    def folds(self) -> int:
        """Of a cross-validation that is stratified: five, or as many as the rarest label has rows, but two."""
        rarest = min(self.answers.count(label) for label in set(self.answers))
        return max(2, min(5, rarest))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Asked:
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**found, "train": [(text, answer) for text, answer in found["train"]]})


def paced(answer: Callable[[list[Any]], object], test: list[Any]) -> float:
    """Seconds that answering ``test`` will take, from a few of it; the first two warm up and are not counted."""
    few = test[::max(1, len(test) // PROBED)][:PROBED]
    answer(few[:2])
    began = time.monotonic()
    answer(few)
    return (time.monotonic() - began) * len(test) / len(few)
