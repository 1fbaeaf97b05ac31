"""A LoRA adapter's folder as plain matrices, for whoever puts several adapters over one base at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scrimp.checkpoints.exporting import ADAPTER_WEIGHTS, adapted_shapes, verify_adapter_folder
from scrimp.checkpoints.validation import refusing
from scrimp.core.errors import ModelError

__all__ = ["LowRankAdapter", "ThinPair", "read_low_rank"]


@dataclass(frozen=True)
class ThinPair:
    """What is added to one linear layer: ``y = W x + b + up (down x)``.

    Attributes:
        down: float32 [R, I].
        up: float32 [O, R], with the adapter's scale in it.
    """

    down: torch.Tensor
    up: torch.Tensor


#: by the names of the layers in the base model
LowRankAdapter = Mapping[str, ThinPair]


def read_low_rank(folder: Path, model: nn.Module | Any) -> LowRankAdapter | None:
    """The matrices of an adapter that is nothing but low-rank updates of linear layers; None of any other adapter.

    Args:
        folder: as PEFT saves; it may come from anyone.
        model: the base, which is left as it is.

    Raises:
        ModelError: see `exporting.verify_adapter_folder`; or weights that are not finite.
    """
    from safetensors.torch import load_file

    if verify_adapter_folder(folder, model)["peft_type"] != "LORA":
        return None
    shapes = adapted_shapes(folder, model)
    scales = _scales(shapes)
    with refusing("the adapter cannot be read", folder / ADAPTER_WEIGHTS):
        tensors = load_file(folder / ADAPTER_WEIGHTS)
    names = {f"base_model.model.{layer}.lora_{part}.weight" for layer in scales or () for part in "AB"}
    if scales is None or names != set(tensors):
        return None
    if bad := [name for name, value in tensors.items() if not bool(value.isfinite().all())]:
        raise ModelError(f"'{bad[0]}' holds NaN or infinite numbers", where=str(folder))
    return {layer: ThinPair(tensors[f"base_model.model.{layer}.lora_A.weight"].float(),
                            tensors[f"base_model.model.{layer}.lora_B.weight"].float() * scale)
            for layer, scale in scales.items()}


def _scales(adapted: Any) -> dict[str, float] | None:
    """Of each adapted layer, by its name in the base; None if one of them is no plain LoRA of a linear layer."""
    from peft.tuners.lora import Linear, LoraLayer

    found = {}
    for name, layer in adapted.base_model.model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if not isinstance(layer, Linear) or not isinstance(layer.base_layer, nn.Linear) or layer.fan_in_fan_out \
                or layer.lora_variant or any(layer.lora_bias.values()):
            return None
        found[name] = float(layer.scaling["default"])
    return found
