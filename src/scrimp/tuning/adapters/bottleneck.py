"""Small networks after the sub-layers of each layer."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from scrimp.checkpoints.grafts import Graft
from scrimp.core.errors import ModelError
from scrimp.core.registry import preset
from scrimp.tuning.adapters.base import BodyAdapter, targeted

__all__ = ["Bottleneck"]

#: endings of the names of the linear layers that end attention or feed-forward part in the usual architectures
ENDS = ("o_proj", "down_proj", "out_proj", "fc2", "c_proj", "attention.dense", "dense_4h_to_h", "output.dense", "wo")


class Bottleneck(BodyAdapter):
    """Put a small network with a narrow middle after attention and after the feed-forward part of each layer.

    `y <- y + U gelu(D y + b) + c`, D of shape [width, H], U of shape [H, width] and zero at the start. Houlsby et al.
    2019, "Parameter-Efficient Transfer Learning for NLP". With ``kronecker`` n both matrices are sums of Kronecker
    products, `D = sum_i A_i x (s_i t_i)`, in which the A_i, [n, n], are shared by all layers and s_i, t_i are thin:
    Mahabadi et al. 2021, "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers". The base's norms stay frozen. It
    is no change of weights and cannot be merged.

    Attributes:
        width: of the middle; a multiple of ``kronecker``.
        kronecker: how many products are summed; none for plain matrices.
        thin_rank: columns of s_i and rows of t_i.
        targets: endings of the names of the linear layers after which the networks stand.
    """

    width: int = Field(default=16, ge=1)
    kronecker: int | None = Field(default=None, ge=2)
    thin_rank: int = Field(default=1, ge=1)
    targets: tuple[str, ...] = ENDS

    def wrap(self, body: nn.Module) -> nn.Module:
        _BottleneckGraft(self, body, targeted(body, self.targets))
        return body

    def added(self, body: nn.Module) -> int:
        layers = targeted(body, self.targets).values()
        n = self.kronecker
        each = [self.size(self.width, layer.out_features) + self.size(layer.out_features, self.width)
                + self.width + layer.out_features for layer in layers]
        return sum(each) + (n**3 if n else 0)

    def size(self, rows: int, columns: int) -> int:
        """Parameters of a matrix [rows, columns], without what is shared."""
        n = self.kronecker
        return rows * columns if n is None else n * self.thin_rank * (rows // n + columns // n)


class _BottleneckGraft(Graft):
    def __init__(self, method: Bottleneck, body: nn.Module, layers: dict[str, nn.Linear]) -> None:
        super().__init__(method, body, list(layers))
        device = next(body.parameters()).device
        n = method.kronecker
        self.shared = nn.Parameter(torch.randn(n, n, n) / n) if n else None
        self.nets = nn.ModuleList(_Net(method, layer.out_features) for layer in layers.values())
        self.to(device)

    def change(self, place: int, inputs: Tensor, output: Tensor) -> Tensor:
        return output + self.nets[place](output, self.shared).to(output.dtype)


class _Net(nn.Module):
    def __init__(self, method: Bottleneck, states: int) -> None:
        super().__init__()
        self.down, self.up = _matrix(method, method.width, states), _matrix(method, states, method.width)
        nn.init.zeros_(list(self.up.parameters())[-1])
        self.narrow, self.wide = nn.Parameter(torch.zeros(method.width)), nn.Parameter(torch.zeros(states))

    def forward(self, states: Tensor, shared: Tensor | None) -> Tensor:
        middle = F.gelu(F.linear(states.to(self.narrow.dtype), self.down(shared), self.narrow))
        return F.linear(middle, self.up(shared), self.wide)


def _matrix(method: Bottleneck, rows: int, columns: int) -> nn.Module:
    return _Plain(rows, columns) if method.kronecker is None else _Kronecker(method, rows, columns)


class _Plain(nn.Module):
    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.whole = nn.Parameter(torch.randn(rows, columns) / columns**0.5)

    def forward(self, shared: Tensor | None) -> Tensor:
        return self.whole


class _Kronecker(nn.Module):
    """`sum_i A_i x (s_i t_i)`: s_i is [rows / n, rank], t_i is [rank, columns / n]."""

    def __init__(self, method: Bottleneck, rows: int, columns: int) -> None:
        super().__init__()
        n, rank = method.kronecker, method.thin_rank
        assert n is not None
        if rows % n or columns % n:
            raise ModelError(f"a matrix of {rows} by {columns} is no sum of Kronecker products of {n} by {n}",
                             where="adapter compacter", fix=f"choose a kronecker that divides {rows} and {columns}")
        self.left = nn.Parameter(torch.randn(n, rows // n, rank) / rank**0.5)
        self.right = nn.Parameter(torch.randn(n, rank, columns // n) / (columns // n) ** 0.5)

    def forward(self, shared: Tensor | None) -> Tensor:
        assert shared is not None
        n, rows, columns = len(shared), self.left.shape[1], self.right.shape[2]
        blocks: Any = torch.einsum("iab,irk,ikc->arbc", shared, self.left, self.right)
        return blocks.reshape(n * rows, n * columns)


preset("bottleneck", Bottleneck)
preset("compacter", Bottleneck, papers=(297,), kronecker=4)
