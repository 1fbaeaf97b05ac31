"""Low-rank updates beside frozen weights."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from scrimp.checkpoints.quantized import Bits, quantize
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import preset
from scrimp.tuning.adapters.base import UNUSED, BodyAdapter, Targets, body_of, is_language_model, targeted
from scrimp.tuning.memory import return_freed

__all__ = ["LoRA", "cut"]


class LoRA(BodyAdapter):
    """Train a product of two thin matrices beside each linear layer; everything else is frozen.

    `y = W x + (alpha / rank) B A x`. Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models". Built by
    PEFT, and saved as PEFT saves. On a pooled classifier the encoder is adapted, and the head, which is new, moves
    whole.

    Attributes:
        rank: columns of the thin matrices.
        alpha: the update is scaled by ``alpha / rank``; twice the rank if left out.
        dropout: share of the update's inputs that are dropped in training.
        targets: endings of the names of the layers to adapt, or "all-linear": each linear layer but the output layer.
        top_layers: adapt so many of the topmost layers only; all if left out. What lies below is the same in each
            epoch, and on the fast path computed once.
        rank_stabilised: scale by ``alpha / sqrt(rank)``. Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for
            Fine-Tuning with LoRA".
        decomposed: train direction and magnitude of the weights apart. Liu et al. 2024, "DoRA: Weight-Decomposed
            Low-Rank Adaptation".
        every_rank: in each step use the first b columns only, b drawn anew from 1 to the rank, scaled by
            ``alpha / b``, so that the result can be cut to any rank; see `cut`. Valipour et al. 2023, "DyLoRA:
            Parameter Efficient Tuning of Pre-trained Models using Dynamic Search-Free Low-Rank Adaptation".
        base_bits: 16 leaves the base as it was loaded; 4 holds its linear layers, but for the output layer, in 4-bit
            NormalFloat while it is trained and asked, see `checkpoints.quantized`. Dettmers et al. 2023, "QLoRA:
            Efficient Finetuning of Quantized LLMs".
    """

    rank: int = Field(default=8, ge=1)
    alpha: int | None = Field(default=None, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Targets = "all-linear"
    top_layers: int | None = Field(default=None, ge=1)
    rank_stabilised: bool = False
    decomposed: bool = False
    every_rank: bool = False
    base_bits: Bits = 16

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.every_rank and (self.decomposed or self.rank_stabilised):
            raise ValueError("'every_rank' goes with neither 'decomposed' nor 'rank_stabilised'")
        return self

    def attach(self, model: nn.Module, *, seed: int = 0) -> nn.Module:
        if self.base_bits == 4:
            self._layers(body_of(model))  # what has nothing to adapt is left as it is
            quantize(body_of(model))
            return_freed()
        return super().attach(model, seed=seed)

    def wrap(self, body: Any) -> nn.Module:
        from peft import LoraConfig, get_peft_model

        unused = any(UNUSED.fullmatch(name) for name, _ in body.named_modules())
        config = LoraConfig(
            task_type="CAUSAL_LM" if is_language_model(body) else "FEATURE_EXTRACTION", r=self.rank,
            lora_alpha=self.alpha or 2 * self.rank, lora_dropout=self.dropout,
            exclude_modules=UNUSED.pattern if unused else None, use_rslora=self.rank_stabilised,
            use_dora=self.decomposed, **self._chosen(self._layers(body)))
        adapted = get_peft_model(body, config)
        if self.every_rank:
            adapted.add_module("rank_draw", _RankDraw(self.rank, adapted))
        return adapted

    def added(self, body: nn.Module) -> int:
        layers = self._layers(body).values()
        magnitudes = sum(_outputs(layer) for layer in layers) if self.decomposed else 0
        return self.rank * sum(sum(layer.weight.shape) for layer in layers) + magnitudes

    def _chosen(self, layers: Iterable[str]) -> dict[str, Any]:
        """PEFT's options for what is adapted, of the names of that; to numbers of layers it takes endings alone."""
        targets = self.targets if isinstance(self.targets, str) else list(self.targets)
        if self.top_layers is None:
            return {"target_modules": targets}
        places = [place for name in layers if (place := _place(name)) is not None]
        endings = sorted({name.rsplit(".", 1)[-1] for name in layers})
        return {"target_modules": endings if self.targets == "all-linear" else targets,
                "layers_to_transform": sorted({number for _, number in places}),
                "layers_pattern": sorted({stack for stack, _ in places})}

    def _layers(self, body: nn.Module) -> dict[str, Any]:
        """What is adapted, by name.

        Raises:
            ModelError: if there is none, or if there are fewer layers than were asked for.
        """
        from transformers.pytorch_utils import Conv1D

        kinds: tuple[type[nn.Module], ...] = (nn.Linear, Conv1D)
        found = targeted(body, self.targets, kinds if self.targets == "all-linear" else (*kinds, nn.Embedding))
        if self.top_layers is None:
            return found
        numbers = {name: place[1] for name in found if (place := _place(name)) is not None}
        count = 1 + max(numbers.values(), default=-1)
        if self.top_layers > count:
            raise ModelError(f"of {count} layers there are no top {self.top_layers}", where="top_layers",
                             fix="choose fewer, or leave it out to adapt all")
        return {name: found[name] for name, number in numbers.items() if number >= count - self.top_layers}


def _place(name: str) -> tuple[str, int] | None:
    """Of a module in one of a model's layers: what these are called, and the layer's number."""
    found = re.match(r"(?:.*?\.)??([^.]+)\.(\d+)\.", name)
    return (found[1], int(found[2])) if found else None


def _outputs(layer: Any) -> int:
    return layer.weight.shape[0 if isinstance(layer, nn.Linear) else 1]


class _RankDraw(nn.Module):
    """In training lets a product's first columns alone through, how many is drawn for each step."""

    def __init__(self, rank: int, adapted: nn.Module) -> None:
        super().__init__()
        self.rank = self.now = rank
        self.seed = torch.initial_seed()
        self.hooks = [layer.lora_A["default"].register_forward_hook(self._after) for layer in _adapted(adapted)]

    def enter_step(self, step: int) -> None:
        self.now = random.Random(f"{self.seed} {step}").randint(1, self.rank)

    def _after(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not self.training:
            return output
        return F.pad(output[..., :self.now] * (self.rank / self.now), (0, self.rank - self.now))


def cut(model: nn.Module, rank: int, *, rescale: bool) -> None:
    """Leave the first ``rank`` columns of a model's LoRA, in place.

    Args:
        model: with a LoRA of that rank or a larger one; it is saved as one of the smaller rank then.
        rescale: scale by ``alpha / rank`` of the smaller rank, as a LoRA with ``every_rank`` learned to be used; else
            what is left counts as much as before.

    Raises:
        OptionError: if the rank is not between one and that of the model.
    """
    peft: Any = body_of(model)
    config = peft.peft_config["default"]
    if not 1 <= rank <= config.r:
        raise OptionError(f"a LoRA of rank {config.r} cannot be cut to rank {rank}")
    share = 1.0 if rescale else rank / config.r
    for layer in _adapted(peft):
        down, up = layer.lora_A["default"], layer.lora_B["default"]
        down.weight.data, down.out_features = down.weight.data[:rank].clone(), rank
        up.weight.data, up.in_features = up.weight.data[:, :rank].clone(), rank
        layer.r["default"], layer.lora_alpha["default"] = rank, layer.lora_alpha["default"] * share
        layer.scaling["default"] = layer.lora_alpha["default"] / rank
    config.r, config.lora_alpha = rank, config.lora_alpha * share
    if (draw := getattr(peft, "rank_draw", None)) is not None:
        for hook in draw.hooks:
            hook.remove()
        del peft.rank_draw


def _adapted(model: nn.Module) -> list[Any]:
    """The layers that carry a LoRA."""
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


preset("lora", LoRA)
preset("dylora", LoRA, papers=(75,), every_rank=True)
