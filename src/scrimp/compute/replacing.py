"""Forward methods replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["is_replaced", "replaced"]


@contextmanager
def replaced(forwards: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Within the block these modules have these forward methods, then those that they had before."""
    before = {module: vars(module).get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:
                module.forward = forward


def is_replaced(module: nn.Module) -> bool:
    """Whether somebody has replaced its forward method: an adapter may have no effect at first, and one later."""
    return "forward" in vars(module)
