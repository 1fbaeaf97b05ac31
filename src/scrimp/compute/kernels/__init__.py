"""What is computed between products of matrices, in one of three ways.

``native`` is a small C++ library, compiled once on this machine where it has a compiler; ``compiled`` is the eager code
compiled by torch, for GPUs; ``eager`` is plain torch. All give the same numbers to rounding.
"""

from functools import lru_cache

import torch

from scrimp.compute.kernels.eager import Kernels

__all__ = ["Kernels", "kernels_for"]


def kernels_for(like: torch.Tensor) -> Kernels:
    """The fastest kernels that there are for tensors such as this."""
    if like.device.type == "cuda":
        return _compiled()
    if like.device.type == "cpu" and like.dtype in (torch.float32, torch.bfloat16):
        from scrimp.compute.kernels.native import Native, library

        if (found := library()) is not None:
            return Native(found)
    return Kernels()


@lru_cache
def _compiled() -> Kernels:
    from scrimp.compute.kernels.compiled import Compiled

    return Compiled()
