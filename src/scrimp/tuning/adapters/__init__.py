"""Adapters: what of a model moves while it is tuned."""

from scrimp.tuning.adapters.base import (
    Adapter,
    compute_dtype,
    load_trainable_state,
    trainable,
    trainable_state,
)
from scrimp.tuning.adapters.full import Full
from scrimp.tuning.adapters.head import Head
from scrimp.tuning.adapters.lora import LoRA

__all__ = ["Adapter", "Full", "Head", "LoRA", "compute_dtype", "load_trainable_state", "trainable",
           "trainable_state"]
