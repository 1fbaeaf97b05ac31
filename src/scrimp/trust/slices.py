"""Exact unlearning: what each example touched is known, so that taking it back is switching that off."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scrimp.core.errors import DataError, ModelError, OptionError
from scrimp.core.registry import Cost, preset
from scrimp.trust.base import Unlearning

__all__ = ["Slices", "SlicedModel"]

_ROWS = 512  # of one forward pass that is not trained
Update = tuple[torch.Tensor, torch.Tensor]  # A [rank, in], B [out, rank]


class Slices(Unlearning):
    """Train each slice of the data into layers of its own; deleting a row switches off its slice and the later ones.

    The rows are dealt to shards, each shard's to slices. A shard's model is the frozen base with low-rank updates
    ``W + B A`` of its linear layers, in as many groups as slices, the layers nearest to the output first: slice t
    trains the updates of group t on its own rows, on top of what the slices before it left. So a group depends on its
    slice and the earlier ones and on nothing else, and without the groups from t on the model is, to the bit, the one
    that never saw slice t. Each shard is trained in several orders of its slices, the first ones such that every slice
    stands at every place once; the order of which most is left is the one that answers. Shards vote by their mean
    probabilities; a shard of which nothing is left does not vote, and if none votes the base answers.

    Basu Roy Chowdhury et al. 2025, "Towards Scalable Exact Machine Unlearning Using Parameter-Efficient Fine-Tuning".
    One slice a shard and one order is plain sharding, with low-rank updates of all layers: Bourtoule et al. 2021,
    "Machine Unlearning" (SISA).

    Attributes:
        shards: models that vote.
        slices: of each shard; at most as many as the model has linear layers.
        orders: in which each shard is trained.
        rank: of the updates.
        steps: of Adam for each slice.
        batch_size: rows of a step.
        learning_rate: of Adam, decaying to zero.
    """

    shards: int = Field(default=3, ge=1)
    slices: int = Field(default=4, ge=1)
    orders: int = Field(default=2, ge=1)
    rank: int = Field(default=4, ge=1)
    steps: int = Field(default=50, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-2, gt=0)

    def fit(self, model: nn.Module, inputs: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> SlicedModel:
        """See `Unlearning.fit`.

        Raises:
            DataError: fewer rows than slices.
            ModelError: fewer linear layers than slices.
            OptionError: more orders than there are.
        """
        base = copy.deepcopy(model).eval().requires_grad_(False)
        groups = self._groups(base)
        shards = self._dealt(len(inputs), seed)
        x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
        runs = [[self._trained(base, groups, x, y, slices, order, [seed, shard, place])
                 for place, order in enumerate(self._orders())] for shard, slices in enumerate(shards)]
        return SlicedModel(base, runs)

    def cost(self, model: nn.Module, classes: int) -> Cost:
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        each = sum(self.rank * (layer.in_features + layer.out_features) for layer in layers)
        return Cost(parameters=self.shards * self.orders * each)

    def _groups(self, base: nn.Module) -> list[dict[str, nn.Linear]]:
        """The linear layers in as many groups as slices, from the output to the input."""
        layers = [(name, layer) for name, layer in base.named_modules() if isinstance(layer, nn.Linear)][::-1]
        if len(layers) < self.slices:
            raise ModelError(f"{self.slices} slices need as many linear layers; the model has {len(layers)}")
        return [dict(layers[i] for i in part) for part in np.array_split(np.arange(len(layers)), self.slices)]

    def _dealt(self, count: int, seed: int) -> list[list[np.ndarray]]:
        """Rows of each slice of each shard: dealt by chance, whatever the rows hold."""
        if count < self.shards * self.slices:
            raise DataError(f"{count} rows cannot be dealt to {self.shards * self.slices} slices")
        rows = np.random.default_rng([seed, self.shards, self.slices]).permutation(count)
        return [np.array_split(shard, self.slices) for shard in np.array_split(rows, self.shards)]

    def _orders(self) -> list[list[int]]:
        """Rotations of the slices, then rotations of every second of them and so on, none twice."""
        found: list[list[int]] = []
        for stride in range(1, self.slices + 1):
            if np.gcd(stride, self.slices) == 1:
                found += [[(begin + stride * i) % self.slices for i in range(self.slices)]
                          for begin in range(self.slices)]
        distinct = list({tuple(order): order for order in found}.values())
        if len(distinct) < self.orders:
            raise OptionError(f"of {self.slices} slices there are {len(distinct)} orders, not {self.orders}",
                              where="orders", fix=f"ask for at most {len(distinct)}")
        return distinct[:self.orders]

    def _trained(self, base: nn.Module, groups: list[dict[str, nn.Linear]], x: torch.Tensor, y: torch.Tensor,
                 slices: list[np.ndarray], order: list[int], seed: list[int]) -> _Run:
        run = _Run([slices[number] for number in order])
        for place, rows in enumerate(run.rows):
            rng = np.random.default_rng([*seed, place])
            new = {name: self._fresh(layer, rng) for name, layer in groups[place].items()}
            self._learn(base, {**run.updates(), **new}, new, x[rows], y[rows], rng)
            run.groups.append({name: (a.detach(), b.detach()) for name, (a, b) in new.items()})
        return run

    def _fresh(self, layer: nn.Linear, rng: np.random.Generator) -> Update:
        """An update that changes nothing yet."""
        drawn = rng.normal(scale=layer.in_features ** -0.5, size=(self.rank, layer.in_features)).astype(np.float32)
        return torch.from_numpy(drawn).requires_grad_(), torch.zeros(layer.out_features, self.rank).requires_grad_()

    def _learn(self, base: nn.Module, updates: Mapping[str, Update], new: Mapping[str, Update], x: torch.Tensor,
               y: torch.Tensor, rng: np.random.Generator) -> None:
        moving = [part for update in new.values() for part in update]
        optimizer = torch.optim.Adam(moving, lr=self.learning_rate)
        with updated(base, updates):
            for step in range(self.steps):
                optimizer.param_groups[0]["lr"] = self.learning_rate * (1 - step / self.steps)
                rows = rng.permutation(len(x))[:self.batch_size]
                loss = F.cross_entropy(base(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        if not bool(loss.isfinite()):
            raise ModelError("the loss is not finite", fix="lower learning_rate")


@dataclass
class _Run:
    """One order of a shard's slices: the rows of each, and the updates that they left, as far as they are in force."""

    rows: list[np.ndarray]
    groups: list[dict[str, Update]] = field(default_factory=list)

    def updates(self) -> dict[str, Update]:
        """All updates in force, by layer."""
        return {name: update for group in self.groups for name, update in group.items()}

    def forget(self, gone: np.ndarray) -> None:
        """Discard the groups from the first one on that saw one of these rows."""
        touched = [place for place, rows in enumerate(self.rows) if np.isin(rows, gone).any()]
        del self.groups[min(touched, default=len(self.groups)):]


class SlicedModel:
    """What `Slices` fits."""

    def __init__(self, base: nn.Module, runs: list[list[_Run]]) -> None:
        self._base, self._runs = base, runs
        self._rows = sum(len(rows) for shard in runs for rows in shard[0].rows)

    @property
    def in_force(self) -> list[int]:
        """Slices that still count, of each shard."""
        return [max(len(run.groups) for run in shard) for shard in self._runs]

    def forget(self, rows: Iterable[int]) -> None:
        """Discard all that these rows touched: the model is then, to the bit, the one that saw others in their place.

        Raises:
            DataError: a row that it was not fitted on.
        """
        gone = np.fromiter(rows, dtype=np.int64)
        if len(gone) and not 0 <= gone.min() <= gone.max() < self._rows:
            raise DataError("there is no such row", why=f"it was fitted on rows 0 to {self._rows - 1}")
        for shard in self._runs:
            for run in shard:
                run.forget(gone)

    def log_probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Float64 [N, C] of float32 inputs [N, ...]."""
        answering = [max(shard, key=lambda run: len(run.groups)).updates() for shard in self._runs]
        voting = [updates for updates in answering if updates] or [{}]
        shares = [self._asked(updates, torch.from_numpy(inputs)) for updates in voting]
        return torch.stack(shares).logsumexp(dim=0).sub(np.log(len(shares))).numpy()

    def parameters(self) -> int:
        """Numbers in the updates in force."""
        return sum(part.numel() for shard in self._runs for run in shard for update in run.updates().values()
                   for part in update)

    def _asked(self, updates: Mapping[str, Update], inputs: torch.Tensor) -> torch.Tensor:
        with updated(self._base, updates), torch.inference_mode():
            parts = [self._base(part) for part in inputs.split(_ROWS)]
        return torch.cat(parts).double().log_softmax(dim=1)


@contextmanager
def updated(base: nn.Module, updates: Mapping[str, Update]) -> Iterator[None]:
    """Within the block the linear layers of ``base`` answer with their updates added."""
    with ExitStack() as hooks:
        for name, (a, b) in updates.items():
            def add(_: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor, a: torch.Tensor = a,
                    b: torch.Tensor = b) -> torch.Tensor:
                return out + F.linear(F.linear(given[0], a), b)

            hooks.callback(base.get_submodule(name).register_forward_hook(add).remove)
        yield


preset("s3t", Slices, papers=(445,))
preset("sisa", Slices, slices=1, orders=1)
