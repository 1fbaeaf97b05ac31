"""The family of merges: several models of one shape become one, tensor by tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator

from scrimp.core.errors import GuardError, ModelError, OptionError
from scrimp.core.registry import Cost, Method

__all__ = ["Merge", "Numbers", "Weights", "drawn_for", "weighted"]

Weights = Mapping[str, torch.Tensor]  # a state dict, or tensors that are read from a file when asked for


def _numbers(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(float(part) for part in value.split(","))
    return (value,) if isinstance(value, int | float) else value


#: one number for each model: ``[0.5, 0.25]`` or ``"0.5,0.25"``
Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers)]


class Merge(Method):
    """Merges models; at most one tensor of each is in memory at a time.

    A merge implements `tensor`; `apply` checks that the models are of one shape and keeps the precision. Tensors of
    whole numbers (counters, position tables) have no average and are the first model's.

    Attributes of the class:
        for_each_model: the options that hold one number for each model.
    """

    family: ClassVar[str] = "merging"
    verb: ClassVar[str] = "apply"
    for_each_model: ClassVar[tuple[str, ...]] = ()

    def apply(self, models: Sequence[Weights], *, base: Weights | None = None,
              seed: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """The merged tensors by name, in the dtype of the first model; computed in float32, or float64 if one is.

        Args:
            models: of one shape; their order is that of weights given in the options.
            base: the model that all of them were tuned from, where the method needs it.
            seed: of every random choice; a tensor's depends on its name and not on its place.

        Raises:
            ModelError: names or shapes that differ, or a base that is missing.
            OptionError: weights that are not one for each model.
            GuardError: a merged tensor that is not finite.
        """
        if not models:
            raise ModelError("there is nothing to merge", fix="give at least one model")
        if base is None and self.needs_base:
            raise ModelError(f"{self.name} merges what models have learned since their base, and there is none",
                             fix="name the base model that they were tuned from")
        for name in self.for_each_model:
            if (given := getattr(self, name)) is not None and len(given) != len(models):
                raise OptionError(f"{name} has {len(given)} numbers for {len(models)} models", where=self.name)
        sources = [*models, *([base] if base is not None else [])]
        _check_names(sources)
        return self._merged(sources, base is not None, seed)

    def _merged(self, sources: list[Weights], based: bool, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
        for name in sources[0]:
            read = [source[name] for source in sources]
            _check_alike(name, read)
            first = read[0]
            if first.is_floating_point():
                exact = reduce(torch.promote_types, {one.dtype for one in read}, torch.float32)
                wide = [one.to(exact) for one in read]
                merged = self.tensor(name, wide[:-1] if based else wide, wide[-1] if based else None, seed)
                first = _finite(name, merged.to(first.dtype))
            yield name, first

    @property
    def needs_base(self) -> bool:
        """Whether these options make use of a base."""
        return "base" in self.needs

    def tensor(self, name: str, models: list[torch.Tensor], base: torch.Tensor | None, seed: int) -> torch.Tensor:
        """One merged tensor from that of each model and of the base, all of one shape and precision."""
        raise NotImplementedError

    def cost(self, models: Sequence[Weights]) -> Cost:
        """The parameters of the result."""
        return Cost(parameters=sum(tensor.numel() for tensor in models[0].values()))


def weighted(tensors: Sequence[torch.Tensor] | torch.Tensor, weights: Sequence[float] | None) -> torch.Tensor:
    """[M, ...] the M tensors, each times its weight; 1 without."""
    stacked = tensors if isinstance(tensors, torch.Tensor) else torch.stack(list(tensors))
    return stacked if weights is None else stacked * _column(weights, stacked)


def _column(weights: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(weights, dtype=like.dtype, device=like.device).view(-1, *[1] * (like.dim() - 1))


def drawn_for(name: str, model: int, seed: int) -> torch.Generator:
    """The source of chance of one tensor of one model: the same in whatever order tensors are merged."""
    address = hashlib.sha256(f"{seed}/{model}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(address[:8], "big", signed=True))


def _check_names(sources: Sequence[Weights]) -> None:
    first = set(sources[0])
    for place, other in enumerate(sources[1:], 2):
        if odd := sorted(first ^ set(other)):
            raise ModelError("the models have different tensors, so they are of different architectures", where=odd[0],
                             why=f"{len(odd)} tensors are in the first or in model {place} alone",
                             fix="merge models that were tuned from one base")


def _check_alike(name: str, read: Sequence[torch.Tensor]) -> None:
    shapes, kinds = {tuple(one.shape) for one in read}, {one.is_floating_point() for one in read}
    if len(shapes) > 1:
        raise ModelError("the models have different shapes", where=name, why=" against ".join(map(str, sorted(shapes))),
                         fix="merge models that were tuned from one base, with one vocabulary")
    if len(kinds) > 1:
        raise ModelError("holds whole numbers in one model and real numbers in another", where=name)


def _finite(name: str, merged: torch.Tensor) -> torch.Tensor:
    if not bool(merged.isfinite().all()):
        raise GuardError("the merged tensor holds NaN or infinite numbers", where=name,
                         why="a model does, or its precision cannot hold the sum", fix="lower the scale or the weights")
    return merged
