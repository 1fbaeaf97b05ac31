"""What every adapter does: freeze what stays, let the rest move, and keep what moves as float32 masters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.errors import ModelError
from scrimp.core.registry import Cost, Method

__all__ = ["UNUSED", "Adapter", "BodyAdapter", "Chooser", "Targets", "body_of", "compute_dtype", "copied", "count",
           "is_language_model", "load_trainable_state", "put_back", "targeted", "trainable", "trainable_state"]

#: modules that take no part in pooled or token states (an encoder's own pooler): there a gradient would never arrive
UNUSED = re.compile(r"(.*\.)?pooler(\..*)?")


#: endings of layers' names, or each linear layer but the output layer
Targets = Literal["all-linear"] | tuple[str, ...]


class Adapter(Method):
    """Chooses the parameters that move.

    An adapter implements `move`; `attach` makes it deterministic and gives what moves float32 masters.
    """

    family: ClassVar[str] = "adapter"
    verb: ClassVar[str] = "attach"

    def attach(self, model: nn.Module, *, seed: int = 0) -> nn.Module:
        """``model`` ready to train: what moves requires gradients and is float32, everything else is frozen.

        The trainer runs the forward pass in the precision that ``model`` came with, see `compute_dtype`. New weights
        depend on ``seed`` alone, and the process's random state is left as it was found.

        Raises:
            ModelError: if this model has nothing that can move in this way.
        """
        dtype, body = compute_dtype(model), body_of(model)
        own = list(body.parameters())
        model.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            moved = self.move(model)
        for parameter in trainable(moved).values():
            parameter.data = parameter.data.float()
        moved.compute_dtype = dtype  # type: ignore[assignment]
        if len({parameter.dtype for parameter in own if parameter.is_floating_point()}) > 1:
            # some of the body's own weights are masters now beside frozen ones: only autocast can compute with both
            moved.needs_autocast = body.needs_autocast = True  # type: ignore[assignment]
        return moved

    def move(self, model: nn.Module) -> nn.Module:
        """Let parameters of the frozen ``model`` move, or wrap it with new ones that do."""
        raise NotImplementedError

    def cost(self, model: nn.Module) -> Cost:
        """The ``parameters`` that would move in the untouched ``model``; None where an adapter does not say."""
        return Cost()


class BodyAdapter(Adapter):
    """An adapter of the transformer itself. On a pooled classifier the head, which is new, moves whole beside it."""

    def move(self, model: Any) -> nn.Module:
        if not isinstance(model, PooledClassifier):
            return self.wrap(model)
        model.encoder = self.wrap(model.encoder)
        model.head.requires_grad_(True)
        return model

    def cost(self, model: nn.Module) -> Cost:
        head = count(model.head.parameters()) if isinstance(model, PooledClassifier) else 0
        return Cost(parameters=self.added(body_of(model)) + head)

    def wrap(self, body: nn.Module) -> nn.Module:
        """The frozen language model or encoder with new parameters that move."""
        raise NotImplementedError

    def added(self, body: nn.Module) -> int:
        """How many parameters `wrap` adds to it."""
        raise NotImplementedError


class Chooser:
    """A part of an adapter, a module of the model, that looks at the data once to choose what moves.

    The trainer calls `choose` before the first step of a run, bills the looks, and keeps ``chosen`` in its checkpoints.

    Attributes:
        looks: optimizer steps whose gradients it wants to see; 0 if it need not be asked.
        chosen: what it chose, int64; its shape is known from the start.
    """

    looks: int
    chosen: torch.Tensor

    def choose(self, looks: Iterable[None]) -> None:
        """Choose. Each step of ``looks`` leaves the mean gradient of a batch in whatever requires one by then."""
        raise NotImplementedError

    def adopt(self, chosen: torch.Tensor) -> None:
        """Take up what was chosen before."""
        raise NotImplementedError


def body_of(model: Any) -> Any:
    """The language model itself, or the encoder under a pooled head."""
    return model.encoder if isinstance(model, PooledClassifier) else model


def is_language_model(body: Any) -> bool:
    """Whether it has an output layer over a vocabulary."""
    return getattr(body, "get_output_embeddings", lambda: None)() is not None


def targeted(body: Any, targets: Targets, kinds: tuple[type[nn.Module], ...] = (nn.Linear,)) -> dict[str, Any]:
    """The layers of ``body`` that are meant, by name.

    Raises:
        ModelError: if there is none; those that there are, are named.
    """
    output = body.get_output_embeddings() if is_language_model(body) else None
    known = {name: layer for name, layer in body.named_modules()
             if isinstance(layer, kinds) and not UNUSED.fullmatch(name)}
    if targets == "all-linear":
        found = {name: layer for name, layer in known.items() if layer is not output}
    else:
        found = {name: layer for name, layer in known.items() if f".{name}".endswith(tuple(f".{t}" for t in targets))}
    if not found:
        raise ModelError("the adapter finds nothing to adapt", where=f"targets {targets}",
                         fix=f"name layers of the model: {sorted({n.rsplit('.', 1)[-1] for n in known})}")
    return found


def count(parameters: Iterable[torch.Tensor]) -> int:
    """How many numbers they hold."""
    return sum(p.numel() for p in parameters)


def compute_dtype(model: nn.Module) -> torch.dtype:
    """The precision of the forward pass: bfloat16 if the model came with bfloat16 weights, else float32."""
    if (known := getattr(model, "compute_dtype", None)) is not None:
        return known
    halved = any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters())
    return torch.bfloat16 if halved else torch.float32


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that move, by name, in the model's own order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what moves, on the CPU."""
    return copied(trainable(model))


def load_trainable_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put back what `trainable_state` copied.

    Raises:
        ModelError: if the names or shapes are not exactly those that move in ``model``; nothing is changed then.
    """
    put_back(trainable(model), state)


def copied(parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """A copy of these parameters, on the CPU."""
    return {name: p.detach().to("cpu", copy=True).contiguous() for name, p in parameters.items()}


def put_back(parameters: Mapping[str, nn.Parameter], state: Mapping[str, torch.Tensor]) -> None:
    """Fill these parameters with what `copied` took; see `load_trainable_state`."""
    if odd := sorted(set(parameters) ^ set(state)):
        raise ModelError("these weights belong to another adapter or model", where=odd[0],
                         why=f"{len(odd)} tensors are on one side only")
    for name, parameter in parameters.items():
        if parameter.shape != state[name].shape:
            raise ModelError("these weights belong to another adapter or model", where=name,
                             why=f"the shape is {list(state[name].shape)}, not {list(parameter.shape)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])
