"""What is compared: one selector of each family, and the controls that cost next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["ARMS", "CHANCE", "Arm"]


@dataclass(frozen=True)
class Arm:
    """A way to come by rows.

    Attributes:
        kind: a "selector", a "control", or the "ceiling": the oracle.
        what: in a few words; of a selector, its family.
        options: of the registered method of that name.
        encoder: that it has embeddings from, if not from the learner's own model.
    """

    kind: Literal["selector", "control", "ceiling"]
    what: str
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: str | None = None


ARMS: dict[str, Arm] = {
    "random": Arm("control", "chance, drawn once"),
    "redrawn": Arm("control", "chance, drawn anew for each epoch"),
    "longest": Arm("control", "the longest answers"),
    "loss": Arm("control", "what the model finds likeliest"),
    "target": Arm("control", "its rows alone, repeated"),
    "oracle": Arm("ceiling", "rows known to be good, for nothing"),
    "miniplm": Arm("selector", "likelihood ratio"),
    "ifd": Arm("selector", "likelihood ratio of answers"),
    "quality-classifier": Arm("selector", "n-grams of good rows"),
    "deita": Arm("selector", "quality and diversity"),
    "facility-location": Arm("selector", "coverage"),
    "rds": Arm("selector", "likeness to the target"),
    "nearest": Arm("selector", "likeness to the target, MiniLM", encoder="minilm"),
    "less": Arm("selector", "gradients", {"epochs": 2, "share": 0.1, "width": 96, "rank": 2, "learning_rate": 2e-3}),
    "got-d": Arm("selector", "optimal transport"),
    "iterselecttune": Arm("selector", "hardness of a few"),
    "label-noise": Arm("selector", "label noise"),
    "badge": Arm("selector", "acquisition"),
}

CHANCE = ("random", "redrawn")  #: the controls that look at nothing
