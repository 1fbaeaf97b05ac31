"""Learning to learn from the examples in the text before a question."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.core.registry import Cost, preset
from scrimp.examples.batching import collate, micro_batches
from scrimp.examples.rendering import begins, plain_ids
from scrimp.examples.templates import Encoded
from scrimp.tuning.meta.base import Episode, Learner, MetaLearner, Tasks
from scrimp.tuning.objectives import SFT, TorchBatch

__all__ = ["InContextTuning", "Reader"]


class Reader(nn.Module):
    """A language model with its tokenizer, and an adapter once it is tuned.

    Args:
        model: a causal language model.
        tokenizer: its own.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    @property
    def pad_id(self) -> int:
        """What fills short rows; any token does, since it is masked."""
        return self.tokenizer.pad_token_id or 0


class InContextTuning(MetaLearner):
    """Tune a language model on texts of instruction, solved examples and a question, with the loss on its answer alone.

    ``-log p(word of y | instruction; x_1 word_1; ...; x_k word_k; x)`` over episodes of many tasks; a new task is then
    learned by reading, without any step. Chen et al. 2022, "Meta-learning via Language Model In-context Tuning". The
    model is a `Reader`, the episodes hold texts and their classes' ``words``. ``raw-in-context`` is the control: the
    same model read without tuning.

    Attributes:
        episodes: drawn for training; each query of one is a text of its own.
        adapter: what moves.
        learning_rate: of AdamW, with a cosine to nothing.
        batch_size: texts of an update.
        example_tokens: of each example's text, the rest is cut.
    """

    episodes: int = Field(default=500, ge=0)
    adapter: Literal["lora", "full"] = "lora"
    learning_rate: float = Field(default=5e-4, gt=0)
    batch_size: int = Field(default=8, ge=1)
    example_tokens: int = Field(default=32, ge=1)

    def fit(self, model: nn.Module, tasks: Tasks, *, seed: int = 0) -> Learner:
        """As said above.

        Raises:
            ModelError: if ``model`` is no `Reader`.
            DataError: if episodes have no words for their classes.
        """
        if not isinstance(model, Reader):
            raise ModelError(f"a {type(model).__name__} cannot read", fix="give Reader(model, tokenizer)")
        rng = np.random.default_rng(seed)
        drawn = [tasks(rng) for _ in range(self.episodes)]
        rows = [self.text(model, e, query, int(said)) for e in drawn
                for query, said in zip(e.query_x, e.query_y, strict=True)]
        if rows:
            self._tune(model, rows, seed)
        return _InContext(self, model)

    def text(self, reader: Reader, episode: Episode, query: str, answer: int) -> Encoded:
        """The whole text as tokens, of which those of the answer's word are trained."""
        if not episode.words:
            raise DataError("the episode has no words for its classes", fix="draw episodes with words")
        tokenizer = reader.tokenizer
        ids = [*begins(tokenizer), *(plain_ids(episode.instruction + "\n", tokenizer) if episode.instruction else [])]
        for text, label in zip(episode.support_x, episode.support_y, strict=True):
            ids += [*self._asked(text, tokenizer), *plain_ids(f" {episode.words[int(label)]}\n", tokenizer)]
        ids += self._asked(query, tokenizer)
        word = plain_ids(f" {episode.words[answer]}\n", tokenizer)
        return Encoded(ids + word, [False] * len(ids) + [True] * len(word), target=answer)

    def cost(self) -> Cost:
        """Of an episode with one query; each further one has the support read again."""
        return Cost(forward=float(self.episodes > 0), backward=float(self.episodes > 0))

    def _asked(self, text: str, tokenizer: Any) -> list[int]:
        return [*plain_ids(text, tokenizer)[:self.example_tokens], *plain_ids(" =", tokenizer)]

    def _tune(self, reader: Reader, rows: list[Encoded], seed: int) -> None:
        from scrimp.tuning.plan import TunePlan

        plan = TunePlan.parse({"adapter": self.adapter, "learning_rate": self.learning_rate, "epochs": 1, "seed": seed,
                               "batch_size": self.batch_size, "micro_tokens": 4096}, where="in-context tuning")
        reader.model = plan.attach(reader.model)
        with tempfile.TemporaryDirectory(prefix="scrimp-") as folder:
            plan.train(reader.model, rows, pad_id=reader.pad_id, folder=Path(folder), meter=Meter())


@dataclass(frozen=True)
class _InContext:
    """Reads the support before each question; nothing moves."""

    method: InContextTuning
    reader: Reader

    def predict(self, episode: Episode) -> np.ndarray:
        """Log-probabilities of the classes' words among each other, [N, C]."""
        rows = [self.method.text(self.reader, episode, query, word) for query in episode.query_x
                for word in range(len(episode.words))]
        scores = -self._losses(rows).reshape(-1, len(episode.words))
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    def _losses(self, rows: list[Encoded]) -> np.ndarray:
        model, objective, found = self.reader.model, SFT(), np.zeros(len(rows))
        device, training = next(model.parameters()).device, model.training
        model.eval()
        try:
            with torch.no_grad():
                for part in _portions(rows):
                    batch = TorchBatch.of(collate([rows[i] for i in part], pad_id=self.reader.pad_id), device)
                    losses, places = objective.token_losses(model, batch)
                    np.add.at(found, np.array(part)[places.cpu().numpy()], losses.double().cpu().numpy())
        finally:
            model.train(training)
        return found


def _portions(rows: list[Encoded]) -> Iterable[list[int]]:
    return micro_batches(range(len(rows)), [one.padded for one in rows], tokens=8192)


preset("in-context", InContextTuning, papers=(101,))
preset("raw-in-context", InContextTuning, episodes=0)
