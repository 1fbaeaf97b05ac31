"""Learned vectors before the text."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import Cost, preset
from scrimp.tuning.adapters.base import Adapter, is_language_model

__all__ = ["PromptTuning"]

_SPREAD = 0.5  # of random vectors, as in the paper


class PromptTuning(Adapter):
    """Train a few vectors that stand before the text like the embeddings of so many tokens; the model is frozen.

    `logits = model([P; E(x)])`, P of shape [vectors, D]. Lester et al. 2021, "The Power of Scale for
    Parameter-Efficient Prompt Tuning". Built by PEFT, and saved as PEFT saves. It is no change of weights and cannot be
    merged; it costs its vectors' share of each pass. It learns slowly: give it tens of times LoRA's learning rate.

    Attributes:
        vectors: how many.
        start: what they are at first: embeddings of the "vocabulary" drawn at random, "random" numbers, or the
            embeddings of the tokens with these ids, over and over, such as those of the labels.
    """

    vectors: int = Field(default=20, ge=1, le=4096)
    start: Literal["vocabulary", "random"] | tuple[int, ...] = "vocabulary"

    def move(self, model: Any) -> nn.Module:
        from peft import PromptTuningConfig

        from scrimp.checkpoints.prompts import Prompted

        config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=self.vectors, prompt_tuning_init="RANDOM")
        first = self._first(_table(model))
        prompted: Any = Prompted(model, config)
        prompted.prompt_encoder["default"].embedding.weight.data.copy_(first)
        return prompted

    def cost(self, model: nn.Module) -> Cost:
        return Cost(parameters=self.vectors * _table(model).shape[1])

    def _first(self, table: torch.Tensor) -> torch.Tensor:
        if self.start == "random":
            return torch.empty(self.vectors, table.shape[1]).uniform_(-_SPREAD, _SPREAD)
        if self.start == "vocabulary":
            return table[torch.randint(len(table), (self.vectors,))].float()
        if not self.start or not all(0 <= token < len(table) for token in self.start):
            raise OptionError(f"'start' names no tokens, or others than 0 to {len(table) - 1}", where="adapter prompt")
        ids = [self.start[i % len(self.start)] for i in range(self.vectors)]
        return table[ids].float()


def _table(model: Any) -> torch.Tensor:
    """The input embeddings [V, D] of a language model."""
    if not is_language_model(model):
        raise ModelError(f"a {type(model).__name__} takes no soft prompt", why="it is no language model",
                         fix="tune it with adapter: lora")
    return model.get_input_embeddings().weight.detach()


preset("prompt", PromptTuning, papers=(203,))
