"""AdamW, and what optimizers that are made of it share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from scrimp.core.errors import OptionError
from scrimp.core.registry import Cost, preset
from scrimp.tuning.optimizers.base import Optimizer, adam_bytes

__all__ = ["AdamFamily", "AdamW"]

_LEAST, _BLOCK = 4096, 256  # numbers of a tensor that is coded, and of a block


class AdamFamily(Optimizer):
    """Adam with weight decay apart from the gradient, in one form or another.

    Biases and norms (parameters with fewer than two axes) do not decay.

    Attributes:
        learning_rate: of the schedule's peak.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: share of a weight, times the learning rate, that is taken off at each step.
    """

    learning_rate: float = Field(default=2e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)

    def groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """What decays and what does not."""
        known = list(parameters)
        groups = [
            {"params": [p for p in known if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in known if p.ndim < 2], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def settings(self) -> dict[str, Any]:
        """What torch's AdamW calls the rest of the options."""
        return {"lr": self.learning_rate, "betas": self.betas, "eps": self.eps}


class AdamW(AdamFamily):
    """Adam with weight decay apart from the gradient.

    Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization". With 8 bits each running mean is a code of one
    byte for each number, and a scale for each block of 256; tensors of fewer than 4096 numbers keep 32 bits. It is
    meant for full tuning: an adapter has little state, and coding it takes time. Dettmers et al. 2022, "8-bit
    Optimizers via Block-wise Quantization", computed by bitsandbytes (the extra "quantized").

    Attributes:
        state_bits: of each number of the two running means.
    """

    state_bits: Literal[32, 8] = 32

    def build(self, named_parameters: Iterable[tuple[str, nn.Parameter]], steps: int) -> torch.optim.Optimizer:
        """See `Optimizer.build`.

        Raises:
            OptionError: if 8 bits are asked for and bitsandbytes is not installed.
        """
        groups = self.groups(p for _, p in named_parameters)
        if self.state_bits == 32:
            return torch.optim.AdamW(groups, **self.settings(), fused=True)
        try:
            from scrimp.tuning.optimizers.lowbit import AdamW8bit
        except ImportError as error:
            raise OptionError("an optimizer's state in 8 bits needs bitsandbytes", where="state_bits", why=str(error),
                              fix="pip install 'scrimp[quantized]', or state_bits: 32") from None
        return AdamW8bit(groups, **self.settings())

    def cost(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Cost:
        return Cost(state_bytes=sum(self._bytes(p) for _, p in named_parameters))

    def _bytes(self, parameter: torch.Tensor) -> int:
        numbers = parameter.numel()
        if self.state_bits == 32 or numbers < _LEAST:
            return adam_bytes([parameter])
        return 2 * (numbers + 4 * -(-numbers // _BLOCK))


preset("adamw", AdamW)
