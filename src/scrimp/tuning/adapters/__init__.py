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
from scrimp.tuning.adapters.bottleneck import Bottleneck
from scrimp.tuning.adapters.dropped import Dropped
from scrimp.tuning.adapters.full import Full
from scrimp.tuning.adapters.head import Head
from scrimp.tuning.adapters.lora import LoRA, cut
from scrimp.tuning.adapters.prompt import PromptTuning
from scrimp.tuning.adapters.sparse import Sparse

__all__ = ["Adapter", "BodyAdapter", "Bottleneck", "Chooser", "Dropped", "Full", "Head", "LoRA", "PromptTuning",
           "Sparse", "compute_dtype", "copied", "cut", "load_trainable_state", "put_back", "trainable",
           "trainable_state"]
