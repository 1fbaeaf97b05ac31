"""Rules of thumb from studies: what to begin with, told by the size of a model, its rows and what is scarce."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import Method, preset

__all__ = ["AdapterChoice", "Advice", "Adviser", "Situation", "SmallModelTuning", "TuneOrShow"]


@dataclass(frozen=True)
class Situation:
    """What is known before anything is trained.

    Attributes:
        parameters: of the model.
        rows: to learn from.
        new_skill: whether the task asks for something that the model cannot do yet however it is asked.
    """

    parameters: float
    rows: int
    new_skill: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.parameters) and self.parameters > 0 and self.rows > 0):
            raise OptionError("a model has parameters, and there are rows to learn from", where="situation")


@dataclass(frozen=True)
class Advice:
    """What to begin with.

    Attributes:
        choice: in a word.
        options: of a tuning plan (`scrimp tune`), where there is something to tune.
        why: in words.
    """

    choice: str
    options: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


class Adviser(Method, abc.ABC):
    """Base of all: a rule that says what to begin with."""

    family: ClassVar[str] = "advice"
    verb: ClassVar[str] = "advise"

    @abc.abstractmethod
    def advise(self, situation: Situation) -> Advice:
        """What to begin with in this situation."""


class AdapterChoice(Adviser):
    """What of a model to move: all of it, a low-rank update, or a learned prompt.

    Three studies say when. Full tuning is best at every size, and LoRA has the best quality for its cost at most sizes;
    the loss on held-out rows tells how the tuned models will do at their tasks (Zhuo et al. 2024, "Astraios:
    Parameter-Efficient Instruction Tuning Code Large Language Models"). LoRA comes nearest to full tuning, and a
    learned prompt costs least (Storhaug and Li 2024, "Parameter-Efficient Fine-Tuning of Large Language Models for Unit
    Test Generation: An Empirical Study"). But a prompt or a prefix cannot change how tokens of the text attend to each
    other: it calls up what a model can do, and teaches nothing that needs other attention (Petrov, Torr and Bibi 2024,
    "When Do Prompting and Prefix-Tuning Work? A Theory of Capabilities and Limitations").

    Attributes:
        weigh: what counts most: "quality", a "balance" of quality and cost, or the "bytes" that are kept of each task.
    """

    weigh: Literal["quality", "balance", "bytes"] = "balance"

    def advise(self, situation: Situation) -> Advice:
        if self.weigh == "quality":
            return Advice("full", {"adapter": "full"}, "full tuning is best at every size")
        if self.weigh == "bytes" and not situation.new_skill:
            return Advice("prompt", {"adapter": "prompt"}, "the model can do it, and a prompt takes the fewest bytes")
        why = "a prompt teaches no new skill" if self.weigh == "bytes" else "the best quality for its cost"
        return Advice("lora", {"adapter": "lora"}, why)


class TuneOrShow(Adviser):
    """Whether to tune a model for a language or notation that it hardly knows, or to show it examples in its context.

    Small models gain most by tuning; the larger a model, the more it gains by examples, which never do harm; a very
    large one may lose when few rows tune it. Giagnorio, Martin-Lopez and Bavota 2025, "Enhancing Code Generation for
    Low-Resource Languages: No Silver Bullet", compare models from about 1 to 33 billion parameters; the borders here
    lie between those that they tried.

    Attributes:
        small: parameters up to which a model is tuned.
        large: parameters from which it is only shown examples, while rows are few.
        few: rows that are few for a large model.
    """

    small: float = Field(default=3e9, gt=0)
    large: float = Field(default=2e10, gt=0)
    few: int = Field(default=10_000, ge=1)

    def advise(self, situation: Situation) -> Advice:
        if situation.parameters <= self.small:
            return Advice("tune", {"adapter": "full"}, "a small model gains most by tuning, from few rows too")
        if situation.parameters >= self.large and situation.rows < self.few:
            return Advice("show", {}, "a large model gains by examples, and few rows may harm it")
        return Advice("both", {"adapter": "lora"}, "examples in the context are safe; tuning may add to them")


class SmallModelTuning(Adviser):
    """How to begin the supervised tuning of a small language model, and which runs to end early.

    Larger batches with a lower learning rate, a constant rate without warm-up, and all rows at once rather than in
    phases. Among runs, a lower norm of the gradient and a higher training loss early on promise a better end. Pareja et
    al. 2024, "Unveiling the Secret Recipe: A Guide For Supervised Fine-Tuning Small LLMs", found so with models of 3 to
    7 billion parameters; how large a batch a number of rows bears is our guess.

    Attributes:
        updates: that an epoch is to have at least.
        largest: examples of an update, at most.
        learning_rate: of an update of the largest batch.
        early: share of a run after which its end is foretold.
    """

    updates: int = Field(default=50, ge=1)
    largest: int = Field(default=3840, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    early: float = Field(default=0.2, gt=0, lt=1)

    def advise(self, situation: Situation) -> Advice:
        batch = max(1, min(self.largest, situation.rows // self.updates))
        return Advice("large batches, low rate, constant, unphased",
                      {"batch_size": batch, "learning_rate": self.learning_rate, "schedule": "constant", "warmup": 0.0},
                      f"{situation.rows} rows bear {batch} examples an update")

    def promising(self, losses: Mapping[str, Sequence[float]], norms: Mapping[str, Sequence[float]]) -> list[str]:
        """Runs by what their beginning promises, the best first; ties in their order.

        Args:
            losses, norms: of each run by its name, the training loss and the norm of the gradient at each planned step
                as far as it went; the mean of its first `early` share counts.

        Raises:
            DataError: if the two tell of different runs, or of none, or not in finite numbers.
        """
        if not losses or losses.keys() != norms.keys():
            raise DataError("losses and norms must be of the same runs, one at least", where=self.name)
        told = {name: (self._begun(losses[name]), self._begun(norms[name])) for name in losses}
        names = list(losses)
        high = _ranks([-told[name][0] for name in names])
        low = _ranks([told[name][1] for name in names])
        return [names[i] for i in np.argsort(high + low, kind="stable")]

    def _begun(self, values: Sequence[float]) -> float:
        begun = np.asarray(values[:max(1, round(self.early * len(values)))], dtype=float)
        if not len(begun) or not np.isfinite(begun).all():
            raise DataError("a run tells finite numbers, one at least", where=self.name)
        return float(begun.mean())


def _ranks(values: Sequence[float]) -> np.ndarray:
    """From 0 for the lowest; equal ones share a rank."""
    found: np.ndarray = np.searchsorted(np.sort(values), values).astype(float)
    return found


preset("adapter-by-quality-and-cost", AdapterChoice, papers=(226,))
preset("adapter-by-bytes", AdapterChoice, papers=(221, 272), weigh="bytes")
preset("adapter-by-quality", AdapterChoice, weigh="quality")
preset("tune-or-show", TuneOrShow, papers=(8,))
preset("small-model-tuning", SmallModelTuning, papers=(19,))
