"""Adapters: what of a model moves while it is tuned."""

from scrimp.tuning.adapters.base import (
    Adapter,
    BodyAdapter,
    Chooser,
    compute_dtype,
    copied,
    load_trainable_state,
    put_back,
    trainable,
    trainable_state,
)
from scrimp.tuning.adapters.full import Full
from scrimp.tuning.adapters.head import Head
from scrimp.tuning.adapters.lora import LoRA

__all__ = ["Adapter", "BodyAdapter", "Chooser", "Full", "Head", "LoRA", "compute_dtype", "copied",
           "load_trainable_state", "put_back", "trainable", "trainable_state"]
