"""The family of decoding: the next token's logits from those of several models, at every step."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, Method, preset
from scrimp.core.workspace import fingerprint
from scrimp.signals.passes import positions_of

if TYPE_CHECKING:
    from scrimp.checkpoints.loading import Loaded

__all__ = ["Combined", "Decoding", "LogitArithmetic"]


class Decoding(Method):
    """Combines models over one vocabulary while they decode."""

    family: ClassVar[str] = "decoding"
    verb: ClassVar[str] = "combine"

    def combine(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        """Float32 logits [..., V] from those of each model, in the order that the class documents."""
        raise NotImplementedError

    @property
    def models(self) -> int:
        """How many models are combined."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Forward passes for each token."""
        return Cost(forward=float(self.models))

    def join(self, models: Sequence[Loaded]) -> Loaded:
        """The models as one, which scores and generates as any loaded model does.

        Args:
            models: in the order that `combine` documents, all over one vocabulary; none is changed.

        Raises:
            ModelError: too few or too many models, or tokenizers that differ.
        """
        if len(models) != self.models:
            raise ModelError(f"{self.name} combines {self.models} models, not {len(models)}")
        first, *others = models
        vocabularies = [fingerprint(one.tokenizer.get_vocab()) for one in models]
        for one, vocabulary in zip(others, vocabularies[1:], strict=True):
            if vocabulary != vocabularies[0]:
                raise ModelError("the tokenizers differ, so one number stands for different tokens",
                                 where=f"{first.checkpoint.name} and {one.checkpoint.name}",
                                 why=f"fingerprints {vocabularies[0][:12]} and {vocabulary[:12]}",
                                 fix="combine models of one family")
        return first.with_model(Combined(self, [one.model for one in models]))


class Combined(nn.Module):
    """Several causal models whose logits become one at every position.

    It takes what the first model takes and gives back logits, over the tokens that all models have (rows that pad an
    output layer to a round number are cut), and the models' caches as one.
    """

    def __init__(self, method: Decoding, models: Sequence[Any]) -> None:
        super().__init__()
        self.method = method
        self.models: Any = nn.ModuleList(models)

    @property
    def config(self) -> Any:
        """The first model's."""
        return self.models[0].config

    @property
    def device(self) -> torch.device:
        """The first model's."""
        return self.models[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Of the first model's weights."""
        return self.models[0].dtype

    @property
    def generation_config(self) -> Any:
        """The first model's, which `generate` reads."""
        return self.models[0].generation_config

    @generation_config.setter
    def generation_config(self, settings: Any) -> None:
        self.models[0].generation_config = settings

    def forward(self, input_ids: torch.Tensor, *, past_key_values: Any = None, **options: Any) -> SimpleNamespace:
        """``.logits``, float32 [B, L, V], and ``.past_key_values``; ``options`` are those of the models."""
        caches = past_key_values or _Caches([None] * len(self.models))
        out = [model(input_ids=input_ids, past_key_values=cache, **options)
               for model, cache in zip(self.models, caches, strict=True)]
        return SimpleNamespace(logits=self._combine([one.logits for one in out]),
                               past_key_values=_Caches([one.past_key_values for one in out]))

    def generate(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any) -> torch.Tensor:
        """As transformers' ``generate`` of the first model, with the combined logits in place of its own."""
        from transformers import LogitsProcessorList

        chosen = LogitsProcessorList([_Steps(self, attention_mask)])
        return self.models[0].generate(input_ids=input_ids, attention_mask=attention_mask, logits_processor=chosen,
                                       **options)

    def _combine(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        width = min(one.shape[-1] for one in logits)
        return self.method.combine([one[..., :width].float() for one in logits])


class _Caches(list[Any]):
    """The key-value cache of each model."""

    def batch_repeat_interleave(self, repeats: int) -> None:
        for cache in self:
            cache.batch_repeat_interleave(repeats)


class _Steps:
    """Called by transformers with the first model's logits at each new token: the others run beside it."""

    def __init__(self, combined: Combined, attention_mask: torch.Tensor) -> None:
        self._combined, self._real = combined, attention_mask
        self._others: list[Any] = list(combined.models)[1:]
        self._caches: list[Any] = [None] * len(self._others)
        self._seen = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        added = input_ids.shape[1] - self._real.shape[1]
        self._real = torch.cat([self._real, self._real.new_ones(len(input_ids), added)], dim=1)
        positions = positions_of(self._real)[:, self._seen:]
        beside = [self._step(place, input_ids[:, self._seen:], positions) for place in range(len(self._others))]
        self._seen = input_ids.shape[1]
        return self._combined._combine([scores, *beside])

    def _step(self, place: int, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        out = self._others[place](input_ids=ids, attention_mask=self._real, position_ids=positions, use_cache=True,
                                  past_key_values=self._caches[place], logits_to_keep=1)
        self._caches[place] = out.past_key_values
        return out.logits[:, -1]


class LogitArithmetic(Decoding):
    """Shift a model's logits by what tuning has changed in smaller ones.

    l = l_base + sum_i strength_i (l_tuned_i - l_untuned_i); the models in this order: the base, then for each strength
    a tuned one and the same before tuning. The large model is never trained, and nothing of it is needed but logits.

    - proxy-tuning: Liu et al. 2024, "Tuning Language Models by Proxy".
    - emulated-fine-tuning: Mitchell et al. 2024, "An Emulator for Fine-Tuning Large Language Models using Small
      Language Models": the small pair's change of log-probability stands in for a reward; several pairs trade traits.

    Attributes:
        strengths: one for each pair of a tuned and an untuned model.
    """

    strengths: tuple[float, ...] = Field(default=(1.0,), min_length=1)

    @property
    def models(self) -> int:
        return 1 + 2 * len(self.strengths)

    def combine(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        if len(logits) != self.models:
            raise ModelError(f"{self.name} combines the logits of {self.models} models, not of {len(logits)}")
        if len({tuple(one.shape) for one in logits}) > 1:
            raise ModelError("the models' logits have different shapes", where=self.name)
        base, *pairs = (one.float() for one in logits)
        shifts = [strength * (tuned - untuned)
                  for strength, tuned, untuned in zip(self.strengths, pairs[::2], pairs[1::2], strict=True)]
        return base + torch.stack(shifts).sum(0)


preset("proxy-tuning", LogitArithmetic, papers=(174,))
preset("emulated-fine-tuning", LogitArithmetic, papers=(122,))
