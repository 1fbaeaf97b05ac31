"""The kernels as torch's own compiler makes them from the plain ones, with its attention: what a GPU uses.

On a processor torch's compiler needs a C++ compiler too, and the kernels in C++ are faster and ready sooner.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from scrimp.compute.kernels.eager import Kernels

if TYPE_CHECKING:
    from scrimp.compute.blocks import Blocks

__all__ = ["Compiled"]

_ROWWISE = ("rotated", "rotated_back", "rms_norm", "rms_norm_backward", "gated", "gated_backward", "cross_entropy")


class Compiled(Kernels):
    """Compiled for tensors of any size; make one of them a process.

    Attention is that of J. Dong, B. Feng, D. Guessous, Y. Liang and H. He (2024), "Flex Attention: A Programming Model
    for Generating Optimized Attention Kernels", compiled too on a GPU; on a processor torch has no gradient for it.
    """

    name = "compiled"

    def __init__(self) -> None:
        for name in _ROWWISE:
            setattr(self, name, torch.compile(getattr(super(), name), dynamic=True))
        self._flex = torch.compile(flex_attention, dynamic=True)

    def attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks) -> torch.Tensor:
        """As `attention`, of which autograd knows the gradient."""
        attend = self._flex if q.device.type == "cuda" else flex_attention
        asked = q.transpose(1, 2).flatten(0, 1)[None]
        read = attend(asked, k[None], v[None], block_mask=_mask(blocks, q.device), scale=1.0, enable_gqa=True)
        return read[0].transpose(0, 1).reshape(q.shape[1], -1)


@lru_cache(maxsize=1)
def _mask(blocks: Blocks, device: torch.device) -> BlockMask:
    """In the order of a forest a token is seen from itself to the end of what is below it: one comparison."""
    until = blocks.until.to(device)

    def sees(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (key <= query) & (query < until[key])

    return create_block_mask(sees, None, None, len(until), len(until), device=str(device))
