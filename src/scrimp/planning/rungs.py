"""The ways that `fit` tries, each a rung: it can be fitted on some rows, and then predicts.

Controls stand beside what they control: word counts and frozen features for labels and scores, the nearest training
row's answer for free text, always the same answer for scores and several labels, and the untouched model wherever one
can be asked.
"""

from __future__ import annotations

import abc
import gc
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from scrimp.checkpoints.validation import weight_files
from scrimp.core.budget import Budget, Meter
from scrimp.core.ledger import Ledger
from scrimp.core.registry import build
from scrimp.examples import splits
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Template
from scrimp.planning.costs import Probe, fits_memory, largest_batch, probe_training

if TYPE_CHECKING:
    from torch import nn

    from scrimp.checkpoints.loading import Checkpoint, Loaded
    from scrimp.examples.templates import Encoded
    from scrimp.serving.heads import Head
    from scrimp.serving.linear import EmbeddedPredictor
    from scrimp.serving.memory import Memory
    from scrimp.serving.predictors import Predictor
    from scrimp.tuning.curve import CurvePoint
    from scrimp.tuning.plan import TunePlan

__all__ = ["Base", "ConstantRung", "FrozenRung", "JoinedRung", "NearestRung", "Rung", "SelfTrainedRung",
           "ShownRung", "TunedRung", "UntouchedRung", "WordCountsRung", "default_plan", "encoder_plan"]

_STOPPING_SHARE = 0.2  # of the rows of a training that validates
_SAID = 0.5  # the probability from which on a tuned encoder says one of several labels


class Base:
    """One model, loaded once for all rungs that stand on it, with the template that it is asked through.

    Args:
        checkpoint: what to load.
        examples: all rows, for the template (labels, layout) and the longest answer.
        instruction, max_tokens: of the template.
    """

    def __init__(self, checkpoint: Checkpoint, examples: Examples, *, instruction: str | None,
                 max_tokens: int | None = None) -> None:
        self.checkpoint, self.examples = checkpoint, examples
        self._instruction, self._max_tokens = instruction, max_tokens
        self._encoded: tuple[Examples, list[Encoded]] | None = None

    @cached_property
    def loaded(self) -> Loaded:
        from scrimp.checkpoints.loading import load

        return load(self.checkpoint)

    def forget(self) -> None:
        """Give the model's memory back; it is loaded anew when it is needed."""
        from scrimp.tuning.memory import return_freed

        self.__dict__.pop("loaded", None)
        gc.collect()  # an adapted model refers to itself
        return_freed()

    @cached_property
    def template(self) -> Template:
        return Template.for_(self.loaded.tokenizer, self.examples, instruction=self._instruction,
                             max_tokens=self._max_tokens)

    def pooled(self) -> nn.Module:
        """The model under a new head, which knows the labels of all rows and whether a row has several, or in what
        scores are told.
        """
        from scrimp.checkpoints.heads import PooledClassifier

        scale = None
        if self.examples.layout is Layout.SCORE:
            scores = [row["score"] for row in self.examples.rows]
            scale = fmean(scores), pstdev(scores) or 1.0
        threshold = _SAID if self.examples.layout is Layout.LABELS else None
        return PooledClassifier(self.loaded.model, self.examples.labels, scale=scale, threshold=threshold)

    @property
    def causal(self) -> bool:
        """Whether it is a language model, and no encoder."""
        return self.checkpoint.kind == "causal"

    @property
    def mapped(self) -> int:
        """Bytes of the files that are mapped into memory while it is loaded, beside what is loaded."""
        return sum(file.stat().st_size for file in weight_files(self.checkpoint.path))

    def encode(self, examples: Examples) -> list[Encoded]:
        """The rows as the trainer takes them; the last are kept, since one training asks for them several times."""
        if self._encoded is None or self._encoded[0] is not examples:
            self._encoded = examples, self.template.encode_all(examples, self.loaded.tokenizer)
        return self._encoded[1]

    def row_tokens(self, examples: Examples) -> float:
        """Tokens of a row, on average."""
        return sum(row.tokens for row in self.encode(examples)) / len(examples)

    @cached_property
    def longest_answer(self) -> int:
        """Tokens that an answer may take: half as many again as the longest of the rows."""
        return 8 + round(1.5 * max(sum(row.trained) for row in self.encode(self.examples)))

    @property
    def writes(self) -> bool:
        """Whether its answers are written, token by token."""
        return self.causal and self.examples.layout in (Layout.PROMPT, Layout.CHAT)

    @cached_property
    def answer_share(self) -> float:
        """Tokens that an answer of the rows takes, on average, over those that may be written; 1 where none are."""
        if not self.writes:
            return 1.0
        return fmean(sum(row.trained) for row in self.encode(self.examples)) / self.longest_answer


class Rung(abc.ABC):
    """One way to solve the task."""

    name: str
    kind: ClassVar[Literal["untouched", "control", "adapted"]]
    base: Base | None = None  #: the model that it stands on
    curve: tuple[CurvePoint, ...] = ()  #: of the last training
    computed: str = ""  #: how the last training was
    warnings: tuple[str, ...] = ()  #: of the last training

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """What a person reads."""

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings that make it what it is."""
        return {}

    @property
    def trainable(self) -> int:
        """Parameters that are trained in the model."""
        return 0

    @property
    def beside(self) -> int:
        """Rows that it reads beside those that it learns from and is asked about."""
        return 0

    @property
    def quantized(self) -> bool:
        """Whether the base is held in fewer bits than it was loaded in."""
        return False

    @property
    def in_place(self) -> bool:
        """Whether the model's own weights are tuned, so that it predicts as fast as before."""
        return False

    @property
    def asks(self) -> float:
        """Questions of the usual length that each row costs a language model that nothing trains; 0 of other ways."""
        return 0.0

    @abc.abstractmethod
    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        """A predictor fitted on ``train``; unfinished work is kept in ``folder``."""

    def forget(self) -> None:
        """Give back the memory of the model that it stands on; it is loaded anew when it is needed."""
        if self.base is not None:
            self.base.forget()


class ConstantRung(Rung):
    """Always the same, the mean score or the commonest labels: what is worth nothing if it does not beat this."""

    name = "constant"
    kind = "control"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def title(self) -> str:
        return "Always the mean score" if self._layout is Layout.SCORE else "Always the same labels"

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        from scrimp.serving.predictors import Constant

        return Constant.fit(train)


class WordCountsRung(Rung):
    """TF-IDF of words under a linear head: what needs no pretrained model at all."""

    name = "word-counts"
    kind = "control"

    def __init__(self, seed: int, layout: Layout) -> None:
        self._seed, self._regression = seed, _REGRESSIONS[layout]

    @property
    def title(self) -> str:
        return f"Word counts + {self._regression}"

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        from scrimp.serving.predictors import WordCounts

        return WordCounts.fit(*_columns(train), head=_head(train.layout), meter=meter, seed=self._seed)


class FrozenRung(Rung):
    """Frozen embeddings: a pretrained encoder, untouched, under a linear head."""

    name = "frozen-features"
    kind = "control"

    base: Base
    features: ClassVar[str] = "features"

    def __init__(self, encoder: Base, cache: Path, seed: int) -> None:
        self.base, self._cache, self._seed = encoder, cache, seed

    @property
    def title(self) -> str:
        regression = _REGRESSIONS[self.base.examples.layout]
        return f"Frozen {self.base.checkpoint.name} {self.features} + {regression}"

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        return self._headed(*_columns(train), meter)

    @property
    def _kind(self) -> type[EmbeddedPredictor]:
        from scrimp.serving.predictors import FrozenHead

        return FrozenHead

    def _headed(self, texts: list[str], wanted: list[Any], meter: Meter) -> Predictor:
        return self._kind.fit(self.base.loaded, texts, wanted, head=_head(self.base.examples.layout), meter=meter,
                              seed=self._seed, cache=self._cache)


class JoinedRung(FrozenRung):
    """Frozen embeddings beside TF-IDF of words, under one linear head."""

    name = "features-and-words"

    features = "features and word counts"

    @property
    def _kind(self) -> type[EmbeddedPredictor]:
        from scrimp.serving.predictors import JoinedHead

        return JoinedHead


class SelfTrainedRung(FrozenRung):
    """Frozen embeddings under a linear head that learns from its surest answers on rows without labels too.

    Yarowsky 1995, "Unsupervised Word Sense Disambiguation Rivaling Supervised Methods".

    Args:
        pool: gives the rows without labels, once it is known for how many there is time.
    """

    name = "self-training"

    def __init__(self, encoder: Base, cache: Path, seed: int, pool: Callable[[], Examples]) -> None:
        super().__init__(encoder, cache, seed)
        self._pool = pool

    @property
    def title(self) -> str:
        return f"{super().title}, self-trained"

    @property
    def beside(self) -> int:
        return len(self._pool())

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        from scrimp.planning.unlabelled import surest

        texts, labels = _columns(train)
        pool = self._pool()
        said = self._headed(texts, labels, meter).predict(pool.rows, meter=meter)
        taught = surest(said, sorted(set(labels)))
        return self._headed([*texts, *(pool[row]["text"] for row in taught)],
                            [*labels, *(said[row]["label"] for row in taught)], meter)


class NearestRung(Rung):
    """The answer of the most similar training row: what looking up, without any tuning, is worth."""

    name = "nearest-answer"
    kind = "control"
    title = "Answer of the nearest training row"

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        from scrimp.serving.memory import NearestAnswer

        return NearestAnswer.fit(train, meter=meter)


class UntouchedRung(Rung):
    """The base model as it came, asked through the template."""

    name = "untouched"
    kind = "untouched"

    base: Base

    def __init__(self, base: Base) -> None:
        self.base = base

    @property
    def title(self) -> str:
        return f"{self.base.checkpoint.name}, untouched"

    @property
    def asks(self) -> float:
        return 1.0

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        return asked(self.base)


class ShownRung(Rung):
    """The base model as it came, shown the answers of the most similar rows before each question.

    Liu, Shen, Zhang, Dolan, Carin and Chen 2022, "What Makes Good In-Context Examples for GPT-3?".
    """

    name = "demonstrations"
    kind = "control"

    base: Base

    def __init__(self, base: Base) -> None:
        self.base = base

    @property
    def title(self) -> str:
        return f"{self.base.checkpoint.name}, shown similar rows"

    @property
    def asks(self) -> float:
        from scrimp.serving.language import SHOWN

        return 1.0 + SHOWN

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        from scrimp.serving.memory import Memory

        return asked(self.base, memory=Memory.of(train))


class TunedRung(Rung):
    """The base model with a little of it tuned.

    Args:
        base: the model; its adapter is attached once and set back to its start before every fit.
        plan: the five choices of tuning. Where it validates, a part of the rows of each fit is not trained on: by its
            loss training stops early and the best weights are kept.
        ledger: what training writes into.
        name: of the rung; that of the plan's adapter, if nothing else is said.
    """

    kind = "adapted"
    base: Base

    def __init__(self, base: Base, plan: TunePlan, *, ledger: Ledger, name: str | None = None) -> None:
        self.base, self.plan, self._ledger = base, plan, ledger
        self.name = name or plan.adapter.name

    @property
    def title(self) -> str:
        if self.in_place:
            return f"Full tuning of {self.base.checkpoint.name}"
        held = "4-bit " if self.quantized else ""
        return f"{type(self.plan.adapter).__name__} on {held}{self.base.checkpoint.name}"

    @property
    def chosen(self) -> dict[str, Any]:
        return self.plan.flat()

    @property
    def quantized(self) -> bool:
        return getattr(self.plan.adapter, "base_bits", 16) < 16

    @property
    def in_place(self) -> bool:
        return self.plan.adapter.name == "full"

    @property
    def validates(self) -> bool:
        """Whether rows that are not trained on say when to stop."""
        return self.plan.options.patience is not None or self.plan.options.validate_every is not None

    @cached_property
    def model(self) -> nn.Module:
        """The model with its adapter attached, at the start of training."""
        return self.plan.attach(self.base.loaded.model if self.base.causal else self.base.pooled())

    @cached_property
    def _start(self) -> dict[str, Any]:
        from scrimp.tuning.adapters import trainable_state

        return trainable_state(self.model)

    @property
    def trainable(self) -> int:
        return sum(tensor.numel() for tensor in self._start.values())

    def visits(self, train: Examples) -> float:
        """Rows that the whole plan trains on, each as often as it is seen."""
        options = self.plan.options
        return len(train) * (options.epochs or 1) if options.steps is None else options.steps * options.batch_size

    def tokens(self, train: Examples) -> int:
        """Tokens that the whole plan trains on."""
        return round(self.base.row_tokens(train) * self.visits(train))

    def step_tokens(self, train: Examples) -> float:
        """Tokens that one optimizer step trains on, on average."""
        return self.base.row_tokens(train) * min(self.plan.options.batch_size, len(train))

    def batch_tokens(self, train: Examples) -> int:
        """Padded tokens that are computed at once, at most."""
        return largest_batch(self.plan.options, self.base.encode(train), rows=self.plan.options.batch_size)

    def probe(self, train: Examples, folder: Path, meter: Meter, *, rows: float) -> Probe:
        """A moment of training on about so many rows; afterwards the base model is loaded anew."""
        from scrimp.tuning.plan import DEFAULTS

        plan = self.plan
        if plan.sampling.column is not None:  # so few rows may have one of a kind, or none
            plan = replace(plan, sampling=build("sampling", DEFAULTS["sampling"]))
        found = probe_training(self.model, self.base.encode(train), pad_id=self.base.loaded.pad_id, plan=plan,
                               folder=folder, meter=meter, rows=rows)
        self.forget()
        return found

    def fit_memory(self, probe: Probe, train: Examples, budget: Budget) -> None:
        """Make the micro-batches fit the declared memory."""
        longest = max(row.padded for row in self.base.encode(train))
        self.plan = fits_memory(probe, self.plan, budget, longest=longest)

    def forget(self) -> None:
        for held in ("model", "_start"):
            self.__dict__.pop(held, None)
        super().forget()

    def fit(self, train: Examples, folder: Path, meter: Meter) -> Predictor:
        from scrimp.tuning.adapters import load_trainable_state

        load_trainable_state(self.model, self._start)
        learned, stopping = self._parted(train)
        plan = replace(self.plan, sampling=self.plan.sampling.over(learned))
        result = plan.train(self.model, self.base.encode(learned), pad_id=self.base.loaded.pad_id, folder=folder,
                            meter=meter, ledger=self._ledger, validate=self._validator(stopping, meter))
        self.curve, self.computed, self.warnings = result.curve, result.computed, tuple(result.warnings)
        if result.stopped_by in ("time", "tokens"):
            self.warnings += (f"{self.title}: {result.steps} of the {result.planned} planned steps were made; "
                              f"the {result.stopped_by} budget allowed no more",)
        if self.quantized:
            self.warnings += (f"{self.title}: trained and scored over a base in four bits; exported, it is put on the "
                              "base as it is loaded, over which nothing was scored",)
        return asked(self.base, tuned=self.model)

    def _parted(self, train: Examples) -> tuple[Examples, Examples | None]:
        """Rows to learn from, and rows that say when to stop."""
        if not self.validates:
            return train, None
        return splits.split(train, _STOPPING_SHARE, seed=self.plan.options.seed)

    def _validator(self, rows: Examples | None, meter: Meter) -> Callable[[], float] | None:
        from scrimp.tuning.validation import mean_loss

        if rows is None:
            return None
        plan, pad_id = self.plan, self.base.loaded.pad_id
        encoded = plan.objective.prepare(self.model, self.base.encode(rows), pad_id=pad_id,
                                         micro_tokens=plan.options.micro_tokens, meter=meter)
        return lambda: mean_loss(self.model, encoded, objective=plan.objective, pad_id=pad_id,
                                 micro_tokens=plan.options.micro_tokens, meter=meter)


def _columns(train: Examples) -> tuple[list[str], list[Any]]:
    """Texts, and what is wanted of each."""
    return [row["text"] for row in train.rows], [row[train.layout] for row in train.rows]


def _head(layout: Layout) -> type[Head]:
    from scrimp.serving.heads import LabelHead, LabelsHead, ScoreHead

    heads: dict[Layout, type[Head]] = {Layout.LABEL: LabelHead, Layout.LABELS: LabelsHead, Layout.SCORE: ScoreHead}
    return heads[layout]


_REGRESSIONS = {Layout.LABEL: "logistic regression", Layout.LABELS: "logistic regression of each label",
                Layout.SCORE: "ridge regression"}


def asked(base: Base, tuned: nn.Module | None = None, memory: Memory | None = None) -> Predictor:
    """The predictor that asks ``base``, or its ``tuned`` form, for what the layout wants, and shows it rows before."""
    from scrimp.serving.predictors import Generator, LabelNames, LabelScorer, PooledHead

    loaded = base.loaded.with_model(tuned) if tuned is not None else base.loaded
    if not base.examples.layout.asked:  # an untouched head says nothing, and takes as long
        return PooledHead(loaded if tuned is not None else loaded.with_model(base.pooled()), base.template)
    if not base.causal:
        return PooledHead(loaded, base.template) if tuned is not None else LabelNames(loaded, base.examples.labels)
    if base.examples.layout is Layout.LABEL:
        return LabelScorer(loaded, base.template, memory=memory)
    return Generator(loaded, base.template, max_new_tokens=base.longest_answer, memory=memory)


_OBJECTIVES = {Layout.LABEL: "classify", Layout.LABELS: "classify-each", Layout.SCORE: "regress"}
_ROW_VISITS = 384  # rows seen in training, in all: tens of rows are seen often, thousands twice
_ENCODER_ROW_VISITS = 3000
_CONTRASTED, _CONTRASTED_EPOCHS = 32, 8  # rows of a step that are compared with each other; seen that often at most


def default_plan(examples: Examples, *, causal: bool, seed: int) -> TunePlan:
    """LoRA with settings that do well on small data: few rows are seen often, many rows a few times."""
    from scrimp.tuning.plan import TunePlan

    epochs = min(16, max(2, round(_ROW_VISITS / len(examples))))
    shared = {"adapter": "lora", "optimizer": "adamw", "schedule": "cosine", "epochs": epochs, "seed": seed}
    if examples.layout is Layout.PREFERENCE:
        return TunePlan.parse({**shared, "objective": "dpo", "learning_rate": 1e-4}, where="the ladder's plan")
    if causal:
        return TunePlan.parse({**shared, "objective": "sft", "learning_rate": 5e-4}, where="the ladder's plan")
    return TunePlan.parse({**shared, "objective": "classify", "learning_rate": 1e-3}, where="the ladder's plan")


def encoder_plan(examples: Examples, *, seed: int) -> TunePlan:
    """The layers of an encoder under a linear head: cheap enough to see its rows more often than a language model.

    Where a step holds several rows of most labels, rows of a label are brought together.
    """
    from scrimp.signals.embeddings import MAX_TOKENS
    from scrimp.tuning.plan import TunePlan

    epochs = max(3, round(_ENCODER_ROW_VISITS / len(examples)))
    plan = {"adapter": "full", "embeddings": False, "optimizer": "adamw", "learning_rate": 1e-4, "schedule": "cosine",
            "batch_size": 16, "epochs": min(16, epochs), "seed": seed, "objective": _OBJECTIVES[examples.layout]}
    if examples.layout is Layout.LABEL and len(examples.labels) <= _CONTRASTED:
        plan |= {"objective": "contrastive", "epochs": min(_CONTRASTED_EPOCHS, epochs), "batch_size": _CONTRASTED,
                 "micro_tokens": _CONTRASTED * MAX_TOKENS}
    return TunePlan.parse(plan, where="the ladder's plan")
