"""What a model still can, away from the task: the loss on general texts and a few general questions, before and after.

For an encoder, which predicts nothing, it is how far the similarities among the general texts agree with those of the
untouched model. Texts and questions were written for this purpose and are in `data/`; the questions tell a model that
has lost its language from one that has not, and nothing finer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scrimp.checkpoints.loading import Loaded
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError
from scrimp.core.options import Options
from scrimp.core.workspace import fingerprint
from scrimp.evaluation.outcome import Retention
from scrimp.evaluation.statistics import paired_bootstrap
from scrimp.serving.textlosses import token_losses
from scrimp.signals.embeddings import embed_texts

__all__ = ["Question", "RetentionProbe", "compare", "general_texts", "measure", "questions"]

LOSS = "general-text loss (nats per token)"
AGREEMENT = "agreement of sentence similarities with the base"
_DATA = Path(__file__).parent / "data"
_DRAWS = 1000
_TEXT_TOKENS = 80  # of each text: more texts tell more than longer ones


@dataclass(frozen=True)
class Question:
    """The beginning of a sentence and four ways to end it, the right one first."""

    kind: str
    beginning: str
    options: tuple[str, ...]


class RetentionProbe(Options):
    """What one measurement found; of the same ``material``, two can be compared.

    Attributes:
        kind: of the model.
        material: fingerprint of the texts and questions.
        losses, tokens: summed loss in nats and count of the tokens of each text (causal).
        right: whether each question was answered right (causal).
        similarities: cosines of all pairs of texts, the upper triangle row by row (encoder).
    """

    kind: Literal["causal", "encoder"]
    material: str
    losses: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    right: tuple[bool, ...] = ()
    similarities: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Piece:
    """Ids of which the trained ones are judged."""

    ids: list[int]
    trained: list[bool]


@lru_cache(maxsize=1)
def general_texts() -> tuple[str, ...]:
    """Short paragraphs of many kinds: stories, news, letters, science, code; a few in Spanish, German and French."""
    return tuple(row["text"] for row in _rows("general.jsonl"))


@lru_cache(maxsize=1)
def questions() -> tuple[Question, ...]:
    """Small questions on numbers, capitals, opposites, kinds of things, everyday life, grammar and foreign words."""
    return tuple(Question(row["kind"], row["beginning"], (row["answer"], *row["others"]))
                 for row in _rows("skills.jsonl"))


def measure(loaded: Loaded, *, meter: Meter | None = None, subset: int | None = None) -> RetentionProbe:
    """Probe a model, as it came or adapted.

    Args:
        loaded: a causal model, an encoder, or an encoder under a head.
        meter: what is charged.
        subset: take so many texts and questions, spread over all kinds; None takes all.

    Raises:
        ModelError: if its losses or states are not finite.
    """
    texts, asked = _spread(general_texts(), subset), _spread(questions(), subset)
    if loaded.kind == "encoder":
        vectors = embed_texts(loaded, texts, meter=meter)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        upper = (vectors @ vectors.T)[np.triu_indices(len(texts), 1)]
        return RetentionProbe(kind="encoder", material=fingerprint(list(texts)),
                              similarities=tuple(round(float(s), 6) for s in upper))
    found = token_losses(loaded, [_whole(text, loaded.tokenizer) for text in texts], meter=meter)
    material = fingerprint([list(texts), [[q.beginning, *q.options] for q in asked]])
    return RetentionProbe(kind="causal", material=material,
                          losses=tuple(loss for loss, _ in found), tokens=tuple(count for _, count in found),
                          right=tuple(_answered(loaded, asked, meter)))


def compare(before: RetentionProbe, after: RetentionProbe) -> Retention:
    """What changed, with a 95 % interval over the texts, the same texts drawn for both.

    Raises:
        DataError: if the two measured different things.
    """
    if (before.kind, before.material) != (after.kind, after.material):
        raise DataError("these two measurements of retention are of different texts or kinds of models",
                        fix="measure both with this version of scrimp")
    if before.kind == "encoder":
        agreement, low, high = _agreement(np.array(before.similarities), np.array(after.similarities))
        return Retention(measure=AGREEMENT, higher_is_better=True, before=1.0, after=agreement,
                         low=low - 1, high=high - 1)
    first, second = (np.array([probe.losses, probe.tokens], dtype=np.float64).T for probe in (before, after))
    _, low, high = paired_bootstrap(first, second)
    sums = [contributions.sum(axis=0) for contributions in (first, second)]
    return Retention(measure=LOSS, before=sums[0][0] / sums[0][1], after=sums[1][0] / sums[1][1], low=low, high=high,
                     skills_before=float(np.mean(before.right)), skills_after=float(np.mean(after.right)),
                     skills_n=len(before.right))


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_DATA / name).read_text(encoding="utf-8").splitlines()]


def _spread(items: Sequence[Any], count: int | None) -> tuple[Any, ...]:
    if count is None or count >= len(items):
        return tuple(items)
    return tuple(items[i * len(items) // count] for i in range(count))


def _whole(text: str, tokenizer: Any) -> _Piece:
    ids = list(tokenizer(text)["input_ids"])[:_TEXT_TOKENS]
    return _Piece(ids, [True] * len(ids))


def _answered(loaded: Loaded, asked: Sequence[Question], meter: Meter | None) -> list[bool]:
    """Whether the right ending is the most probable one."""
    pieces = [_ending(q.beginning, option, loaded.tokenizer) for q in asked for option in q.options]
    losses = iter([loss for loss, _ in token_losses(loaded, pieces, meter=meter)])
    return [int(np.argmin([next(losses) for _ in q.options])) == 0 for q in asked]


def _ending(beginning: str, option: str, tokenizer: Any) -> _Piece:
    before = list(tokenizer(beginning)["input_ids"])
    after = list(tokenizer(option if beginning.endswith('"') else f" {option}", add_special_tokens=False)["input_ids"])
    return _Piece(before + after, [False] * len(before) + [True] * len(after))


def _agreement(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Correlation of two sets of pairwise similarities, and its interval over texts.

    Kriegeskorte et al. 2008, "Representational similarity analysis". A text that is drawn twice makes no pair with
    itself.
    """
    count = round((1 + np.sqrt(1 + 8 * len(before))) / 2)
    place = np.full((count, count), -1)
    place[np.triu_indices(count, 1)] = np.arange(len(before))
    place = np.maximum(place, place.T)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(_DRAWS):
        texts = rng.integers(count, size=count)
        pairs = place[np.ix_(texts, texts)][np.triu_indices(count, 1)]
        pairs = pairs[pairs >= 0]
        drawn.append(_correlation(before[pairs], after[pairs]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return _correlation(before, after), float(low), float(high)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; a side without any variation agrees with nothing but itself."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.array_equal(a, b))
    return float(np.corrcoef(a, b)[0, 1])
