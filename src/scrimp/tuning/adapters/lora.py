"""Low-rank updates beside frozen weights."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.tuning.adapters.base import UNUSED, Adapter

__all__ = ["LoRA"]


class LoRA(Adapter):
    """Train a product of two thin matrices beside each linear layer; everything else is frozen.

    Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models". Built by PEFT, and saved as PEFT saves. On a
    pooled classifier the encoder is adapted and the head, which is new, moves whole.

    Attributes:
        rank: columns of the thin matrices.
        alpha: the update is scaled by ``alpha / rank``; twice the rank if left out.
        dropout: share of the update's inputs that are dropped in training.
        targets: endings of the names of the layers to adapt, or "all-linear": each linear layer but the output layer.
        rank_stabilised: scale by ``alpha / sqrt(rank)``. Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for
            Fine-Tuning with LoRA".
        decomposed: train direction and magnitude of the weights apart. Liu et al. 2024, "DoRA: Weight-Decomposed
            Low-Rank Adaptation".
    """

    rank: int = Field(default=8, ge=1)
    alpha: int | None = Field(default=None, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    rank_stabilised: bool = False
    decomposed: bool = False

    def move(self, model: Any) -> nn.Module:
        if not isinstance(model, PooledClassifier):
            return self._wrap(model, "CAUSAL_LM")
        model.encoder = self._wrap(model.encoder, "FEATURE_EXTRACTION")
        model.head.requires_grad_(True)
        return model

    def _wrap(self, model: nn.Module, task: str) -> nn.Module:
        from peft import LoraConfig, get_peft_model

        unused = any(UNUSED.fullmatch(name) for name, _ in model.named_modules())
        targets = self.targets if isinstance(self.targets, str) else list(self.targets)
        config = LoraConfig(
            task_type=task, r=self.rank, lora_alpha=self.alpha or 2 * self.rank, lora_dropout=self.dropout,
            target_modules=targets, exclude_modules=UNUSED.pattern if unused else None,
            use_rslora=self.rank_stabilised, use_dora=self.decomposed)
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            linear = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if isinstance(m, nn.Linear)})
            raise ModelError("LoRA finds nothing to adapt", where=f"targets {self.targets}",
                             why=str(error).split(". ")[0], fix=f"name linear layers of the model: {linear}") from None


preset("lora", LoRA)
