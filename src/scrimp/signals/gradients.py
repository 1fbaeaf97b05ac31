"""Where each example would move a model: the length of its gradient, and a shadow of its direction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from scrimp.compute.forest import in_portions
from scrimp.compute.perexample import Rowwise, rowwise
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError
from scrimp.signals.passes import Found, Pass, run
from scrimp.signals.projection import Projection

if TYPE_CHECKING:
    from scrimp.examples.templates import Encoded

__all__ = ["TOKENS", "GradientPass", "Gradients", "Moments", "gradients"]

TOKENS = 2048  #: of the rows whose gradients one backward pass gives
_AT_ONCE = 32 << 20  # bytes of gradients that wait to be taken up
_COMPARED = 2  # rows whose gradients are computed both ways
_APART = {torch.float32: 1e-3, torch.bfloat16: 0.15}  # of a gradient's length, by the two ways of computing it


@dataclass(frozen=True)
class Gradients:
    """Of N rows.

    Attributes:
        norms: float32 [N], in nats a token and unit of weight.
        projected: float32 [N, W]; inner products of rows are those of the gradients, up to chance.
    """

    norms: np.ndarray
    projected: np.ndarray


@dataclass(frozen=True)
class Moments:
    """What Adam has seen before these rows; a row's gradient then becomes the step that Adam would make of it.

    Attributes:
        first, second: by a parameter's name, the means of gradients and of their squares, as Adam keeps them.
        step: updates made so far.
        betas, eps: of Adam.
    """

    first: Mapping[str, torch.Tensor]
    second: Mapping[str, torch.Tensor]
    step: int
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def content(self) -> list[Any]:
        """What decides the directions."""
        sums = [[name, part[name].double().sum().item(), part[name].double().square().sum().item()]
                for part in (self.first, self.second) for name in sorted(part)]
        return [sums, self.step, self.betas, self.eps]

    def direction(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """The next step from gradients [N, ...], each as if it were the only one; of unit learning rate."""
        (beta, gamma), after = self.betas, self.step + 1
        mean = gradient.mul(1 - beta).add_(self.first[name], alpha=beta).div_(1 - beta**after)
        square = gradient.square().mul_(1 - gamma).add_(self.second[name], alpha=gamma).div_(1 - gamma**after)
        return mean.div_(square.sqrt_().add_(self.eps))


def gradients(model: Any, encoded: Sequence[Encoded], *, parameters: str = ".*", width: int = 256, seed: int = 0,
              moments: Moments | None = None, meter: Meter | None = None) -> Gradients:
    """The gradient of each row's mean loss over its trained tokens; see `GradientPass`."""
    found = run(GradientPass(model, parameters, width, seed, moments), encoded, meter=meter).values
    return Gradients(found[:, 0], found[:, 1:])


@dataclass(frozen=True)
class GradientPass(Pass["Encoded"]):
    """The gradient of each row's mean loss over its trained tokens, its length and its shadow; see `Projection`.

    Where only weights of linear and low-rank layers of a known decoder move, many rows are packed into one backward
    pass (`compute.perexample`); else it is one row after the other. Of the first rows both are computed, and the packed
    way is left if they differ by more than rounding.

    Attributes:
        model: a causal model; left as it is.
        parameters: a pattern for the names of the parameters that count.
        size: numbers that are kept of each gradient's direction.
        seed: of the projection.
        moments: of Adam, if it is Adam's step that counts; the norm is then of that step.
    """

    model: Any
    parameters: str
    size: int
    seed: int
    moments: Moments | None = None
    kind = "gradients"
    said = "measuring gradients"

    @cached_property
    def _projection(self) -> Projection:
        return Projection(self.size, self.seed)

    @property
    def width(self) -> int:
        return 1 + self.size

    def content(self, row: Encoded) -> Any:
        return [row.ids, row.trained]

    def lengths(self, rows: Sequence[Encoded]) -> list[int]:
        return [len(row.ids) for row in rows]

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        return in_portions([np.zeros(0, np.int64)] * len(lengths), lengths, TOKENS, shared=False)

    @contextmanager
    def opened(self) -> Iterator[Callable[[Sequence[Encoded]], Found]]:
        """Raises ModelError: no parameter has such a name; a row without a trained token; a gradient not finite."""
        with self._moving() as chosen, _precision(self.model):
            agreed: bool | None = None

            def measured(rows: Sequence[Encoded]) -> Found:
                nonlocal agreed
                self._check(rows)
                compared: Sequence[Encoded] = ()
                if agreed is None:
                    same = self._agree(rows[:_COMPARED], chosen)
                    agreed, compared = bool(same), () if same is None else rows[:_COMPARED]
                found = self._packed(rows) if agreed else None
                return self._found(rows, self._looped(rows, chosen) if found is None else found, [*compared, *compared])

            yield measured

    @contextmanager
    def _moving(self) -> Iterator[dict[str, torch.nn.Parameter]]:
        """The parameters that count, which alone require a gradient within the block."""
        chosen = {name: p for name, p in self.model.named_parameters() if re.fullmatch(self.parameters, name)}
        if not chosen:
            raise ModelError(f"no parameter's name matches '{self.parameters}'")
        moving, training = [p.requires_grad for p in self.model.parameters()], self.model.training
        self.model.eval().requires_grad_(False)
        try:
            for parameter in chosen.values():
                parameter.requires_grad_(True)
            yield chosen
        finally:
            for parameter, moved in zip(self.model.parameters(), moving, strict=True):
                parameter.requires_grad_(moved)
            self.model.train(training)

    @contextmanager
    def _rowwise(self) -> Iterator[Rowwise | str]:
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        if not hasattr(base, "get_decoder") or base.get_output_embeddings() is None:
            yield "this is not a language model with a decoder"
            return
        with rowwise(self.model, base.get_decoder(), base.get_output_embeddings()) as found:
            yield found

    def _agree(self, rows: Sequence[Encoded], chosen: Mapping[str, torch.nn.Parameter]) -> bool | None:
        """Whether both ways give the same of these rows, but for rounding; None, at no cost, if none can be packed."""
        if (ours := self._packed(rows)) is None:
            return None
        usual = self._looped(rows, chosen)
        dtype = next(self.model.get_input_embeddings().parameters()).dtype
        apart = (ours - usual).norm(dim=1) / usual.norm(dim=1).clamp(min=1e-12)
        return bool((apart <= _APART.get(dtype, 0.0)).all())

    def _packed(self, rows: Sequence[Encoded]) -> torch.Tensor | None:
        """[rows, 1 + size], from one backward pass; None where that cannot be."""
        squares, shadows = self._empty(len(rows))
        with self._rowwise() as fast:
            if isinstance(fast, str):
                return None
            waiting = _Waiting(lambda name, gradient: self._add(name, gradient, squares, shadows))
            fast.gradients([np.asarray(row.ids, dtype=np.int64) for row in rows],
                           [np.asarray(row.trained, dtype=bool) for row in rows], waiting)
            waiting.over()
        return torch.cat([squares.sqrt()[:, None], shadows], dim=1)

    def _looped(self, rows: Sequence[Encoded], chosen: Mapping[str, torch.nn.Parameter]) -> torch.Tensor:
        squares, shadows = self._empty(len(rows))
        for i, row in enumerate(rows):
            made = torch.autograd.grad(_mean_loss(self.model, row), list(chosen.values()))
            for name, gradient in zip(chosen, made, strict=True):
                self._add(name, gradient[None].float(), squares[i:i + 1], shadows[i:i + 1])
        return torch.cat([squares.sqrt()[:, None], shadows], dim=1)

    def _empty(self, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        device = next(self.model.parameters()).device
        return torch.zeros(rows, device=device), torch.zeros(rows, self.size, device=device)

    def _add(self, name: str, gradient: torch.Tensor, squares: torch.Tensor, shadows: torch.Tensor) -> None:
        step = self.moments.direction(name, gradient) if self.moments else gradient
        squares += self._projection.fold(shadows, step, name)

    def _check(self, rows: Sequence[Encoded]) -> None:
        for row in rows:
            if not any(row.trained[1:]):
                raise ModelError("the row has no trained token, so no gradient", where=f"row {row.row}")

    def _found(self, rows: Sequence[Encoded], values: torch.Tensor, compared: Sequence[Encoded]) -> Found:
        """The values of ``rows``, and the work with that of comparing: six operations a weight and token, about."""
        if not bool(values.isfinite().all()):
            bad = int((~values.isfinite().all(dim=1)).nonzero()[0])
            raise ModelError("a gradient is not finite", where=f"row {rows[bad].row}",
                             why="the weights hold NaN or infinity, or overflow in this precision")
        tokens = sum(len(row.ids) for row in (*rows, *compared))
        weights = sum(p.numel() for p in self.model.parameters())
        return Found(values.cpu().numpy(), tokens, tokens, 6.0 * weights * tokens)


class _Waiting:
    """Gradients that are taken up several at a time: one by one, each would find the caches full of the model."""

    def __init__(self, take: Callable[[str, torch.Tensor], None]) -> None:
        self._take, self._told, self._bytes = take, list[tuple[str, torch.Tensor]](), 0

    def __call__(self, name: str, gradient: torch.Tensor) -> None:
        self._told.append((name, gradient))
        self._bytes += gradient.nbytes
        if self._bytes >= _AT_ONCE:
            self.over()

    def over(self) -> None:
        """Take up what waits."""
        for name, gradient in self._told:
            self._take(name, gradient)
        self._told, self._bytes = [], 0


def _precision(model: Any) -> Any:
    """As a model is trained: what is kept in float32 for its precision is computed in bfloat16."""
    kind = next(model.parameters()).device.type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=getattr(model, "needs_autocast", False),
                          cache_enabled=False)


def _mean_loss(model: Any, row: Encoded) -> torch.Tensor:
    device = next(model.parameters()).device
    ids, trained = torch.tensor(row.ids, device=device), torch.tensor(row.trained, device=device)[1:]
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    return F.cross_entropy(logits[trained].float(), ids[1:][trained])
