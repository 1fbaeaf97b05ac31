"""Was this text trained on? Scores of its tokens' probabilities under the model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from torch import nn

from scrimp.core.errors import DataError
from scrimp.core.registry import Cost, preset
from scrimp.signals.losses import TokenLosses, losses
from scrimp.trust.base import Audit

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["Membership"]


class Membership(Audit):
    """Score a text by the probabilities of its tokens, where a text that was seen has fewer surprises.

    Each token has a score: ``log p(x_t)``, or with ``standard`` how far that is above what the model expects of its own
    distribution there, ``(log p(x_t) - mean) / deviation``. The text's score is the mean over the share ``lowest`` of
    its tokens, those with the lowest scores: a text that was not seen is likely to have a few outliers, one that was
    seen is not. All tokens (``lowest=1``) give the loss; ``weigh="zlib"`` divides it by the length of the compressed
    text, so that a text which is easy for anybody does not pass for seen.

    Min-K%: Shi et al. 2024, "Detecting Pretraining Data from Large Language Models". Min-K%++: Zhang et al. 2025,
    "Min-K%++: Improved Baseline for Detecting Pre-Training Data from Large Language Models". Loss: Yeom et al. 2018,
    "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting". Zlib: Carlini et al. 2021, "Extracting
    Training Data from Large Language Models".

    Attributes:
        lowest: share of the tokens that count, at least one.
        standard: whether tokens are compared with what the model expects there.
        weigh: "tokens" takes the mean over tokens, "zlib" the sum over the bytes of the compressed token ids.
    """

    lowest: float = Field(default=0.2, gt=0, le=1)
    standard: bool = False
    weigh: Literal["tokens", "zlib"] = "tokens"

    def scores(self, model: nn.Module, texts: Sequence[Encoded]) -> np.ndarray:
        for text in texts:
            if not any(text.trained[1:]):
                raise DataError("the text has no token to score", where=f"row {text.row}")
        found = losses(model, texts)
        return np.array([self._score(one, text.ids) for one, text in zip(found, texts, strict=True)])

    def cost(self) -> Cost:
        return Cost(forward=1)

    def _score(self, found: TokenLosses, ids: Sequence[int]) -> float:
        tokens = found.log_probability.astype(np.float64)
        if self.standard:
            tokens = (tokens - found.expected) / np.maximum(found.spread, 1e-6)
        counted = np.sort(tokens)[:max(1, round(self.lowest * len(tokens)))]
        if self.weigh == "tokens":
            return float(counted.mean())
        return float(counted.sum() / len(zlib.compress(np.asarray(ids, dtype="<u4").tobytes())))


preset("min-k", Membership, papers=(549,))
preset("min-k++", Membership, standard=True)
preset("loss", Membership, lowest=1.0)
preset("zlib", Membership, lowest=1.0, weigh="zlib")
