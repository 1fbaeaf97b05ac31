"""What needs bitsandbytes."""

from __future__ import annotations

import bitsandbytes
import torch

__all__ = ["AdamW8bit"]


class AdamW8bit(bitsandbytes.optim.AdamW8bit):
    """bitsandbytes' optimizer with a state of plain tensors by name, as torch's own have it, for checkpoints."""

    state_dict = torch.optim.Optimizer.state_dict
