"""A linear head on the pooled states of an encoder, which chooses a label or says a score, and its two small files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from scrimp.checkpoints.validation import read_object, refusing
from scrimp.core.errors import ModelError
from scrimp.core.workspace import atomic_write

__all__ = ["Answers", "HEAD_CONFIG", "HEAD_WEIGHTS", "PooledClassifier", "Pooling", "load_head", "pool", "save_head"]

Pooling = Literal["mean", "cls", "last"]
Answers = Literal["label", "labels", "score"]  #: what a head says

HEAD_CONFIG, HEAD_WEIGHTS = "head.json", "head.safetensors"
_FORMAT = 1


def pool(hidden: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector a row: the mean of the attended states, the first of them or the last, whichever side is padded.

    Args:
        hidden: states [B, L, D] of any float type.
        attention_mask: [B, L], 1 where there is a token.

    Returns:
        float32 [B, D].
    """
    if pooling == "mean":
        beside = attention_mask.unsqueeze(-1) == 0  # filled and not multiplied, since 0 * NaN is NaN
        return hidden.float().masked_fill(beside, 0.0).sum(1) / (~beside).sum(1).clamp(min=1)
    mask = attention_mask.long()
    at = mask.argmax(1) if pooling == "cls" else mask.cumsum(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), at].float()


class PooledClassifier(nn.Module):
    """Classes from pooled states, or a score: ``logits = head(pool(encoder(ids)))``.

    Of a score the one logit tells how many spreads it is from the centre; where a text has any number of labels, each
    logit is the log-odds of one. The head is float32 whatever the encoder is.

    Reimers and Gurevych 2019, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks" (mean pooling).

    Args:
        encoder: any model whose output has ``last_hidden_state`` [B, L, D].
        labels: distinct class names, in the order of the logits; none of a score.
        pooling: how a row's states become one vector.
        seed: of the head's first weights, which depend on nothing else.
        scale: centre and spread of scores; None for labels.
        threshold: the probability from which on one of several labels is said; None where one is chosen.
        unit: whether the head is given states of length one.

    Raises:
        ModelError: fewer than two labels, of which one is chosen, or one twice; labels beside a scale.
    """

    def __init__(self, encoder: Any, labels: Sequence[str], *, pooling: Pooling = "mean",
                 seed: int = 0, scale: tuple[float, float] | None = None, threshold: float | None = None,
                 unit: bool = False) -> None:
        super().__init__()
        self.labels, self.pooling, self.scale, self.threshold = tuple(labels), pooling, scale, threshold
        self.unit = unit
        if scale is not None:
            if self.labels:
                raise ModelError("a head that says scores has no labels")
        elif len(set(self.labels)) < max(_least(threshold), len(self.labels)):
            least = "one" if threshold is not None else "two"
            raise ModelError(f"a classifier needs {least} or more distinct labels, not {list(self.labels)[:10]}")
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, 1 if scale else len(self.labels), dtype=torch.float32)
        nn.init.normal_(self.head.weight, std=0.02, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)
        self.to(next(encoder.parameters()).device)

    @property
    def answers(self) -> Answers:
        """What it says."""
        if self.scale:
            return "score"
        return "label" if self.threshold is None else "labels"

    def over(self, encoder: Any) -> PooledClassifier:
        """A copy of the head over another encoder, in evaluation mode."""
        other = PooledClassifier(encoder, self.labels, pooling=self.pooling, scale=self.scale, threshold=self.threshold,
                                 unit=self.unit)
        other.head.load_state_dict(self.head.state_dict())
        return other.eval()

    @property
    def config(self) -> Any:
        """The encoder's."""
        return self.encoder.config

    def embed(self, input_ids: Tensor, attention_mask: Tensor, *, normalise: bool = False) -> Tensor:
        """Pooled states, float32 [B, D]; of length one each if ``normalise``."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = pool(states, attention_mask, self.pooling)
        return nn.functional.normalize(pooled, dim=-1) if normalise else pooled

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, float32 [B, classes], under autocast too."""
        return self.logits(self.embed(input_ids, attention_mask))

    def logits(self, pooled: Tensor) -> Tensor:
        """Those of pooled states [B, D] of any length, float32 [B, classes]."""
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = pooled.float()
            return self.head(nn.functional.normalize(pooled, dim=-1) if self.unit else pooled)


def save_head(model: PooledClassifier, folder: Path) -> None:
    """Write ``head.safetensors`` (weight [C, D], bias [C]) and ``head.json``, with all else that a head is."""
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous() for name, value in model.head.state_dict().items()}
    atomic_write(folder / HEAD_WEIGHTS, save(weights))
    scale = {"scale": list(model.scale)} if model.scale else {}
    several = {"threshold": model.threshold} if model.threshold is not None else {}
    unit = {"unit": True} if model.unit else {}
    atomic_write(folder / HEAD_CONFIG, json.dumps({"format": _FORMAT, "pooling": model.pooling,
                                                   "labels": list(model.labels), **scale, **several, **unit}, indent=1))


def load_head(folder: Path, encoder: nn.Module) -> PooledClassifier:
    """``encoder`` with the head that `save_head` wrote, in evaluation mode.

    Raises:
        ModelError: files that are missing, damaged, or of another encoder or a newer scrimp.
    """
    from safetensors.torch import load_file

    told, where = read_object(folder / HEAD_CONFIG), str(folder / HEAD_CONFIG)
    labels, pooling = told.get("labels"), told.get("pooling")
    if told.get("format") != _FORMAT:
        raise ModelError(f"has format {told.get('format')!r:.40}, this scrimp reads {_FORMAT}", where=where)
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError("'labels' is no list of texts", where=where)
    if pooling not in get_args(Pooling):
        raise ModelError(f"'pooling' cannot be {pooling!r:.40}", where=where)
    scale = _scale(told["scale"], where) if "scale" in told else None
    threshold = _threshold(told["threshold"], where) if "threshold" in told else None
    if len(set(labels)) < max(_least(threshold), len(labels)) and not (scale and not labels):
        raise ModelError(f"'labels' are not {_least(threshold)} or more distinct texts", where=where)
    unit = told.get("unit", False)
    if not isinstance(unit, bool):
        raise ModelError(f"'unit' is neither true nor false but {unit!r:.40}", where=where)
    model = PooledClassifier(encoder, labels, pooling=cast(Pooling, pooling), scale=scale, threshold=threshold,
                             unit=unit)
    with refusing("the head does not fit", folder / HEAD_WEIGHTS):
        model.head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    if not all(bool(value.isfinite().all()) for value in model.head.parameters()):
        raise ModelError("holds NaN or infinite numbers", where=str(folder / HEAD_WEIGHTS))
    return model.eval()


def _least(threshold: float | None) -> int:
    """So many labels there must be."""
    return 2 if threshold is None else 1


def _threshold(told: Any, where: str) -> float:
    """Checked."""
    if not isinstance(told, float) or not 0 < told < 1:
        raise ModelError(f"'threshold' cannot be {told!r:.40}", where=where)
    return told


def _scale(told: Any, where: str) -> tuple[float, float]:
    """Checked centre and spread of scores."""
    sound = isinstance(told, list) and len(told) == 2 and all(
        isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < float("inf") for one in told)
    if not sound or told[1] <= 0:
        raise ModelError(f"'scale' cannot be {told!r:.40}", where=where)
    return float(told[0]), float(told[1])
