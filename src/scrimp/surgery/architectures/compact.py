"""Compact transformers: image classifiers that learn from few images."""

from __future__ import annotations

import itertools
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from scrimp.core.registry import Cost, preset
from scrimp.surgery.architectures.base import Architecture

__all__ = ["CompactTransformer"]


class CompactTransformer(Architecture):
    """A small vision transformer whose tokens are patches or come from convolutions; images to logits.

    Images are float32 [B, channels, size, size], logits [B, classes]. Tokens: each ``patch`` by ``patch`` square
    projected, or ``convolutions`` layers of ``MaxPool(ReLU(Conv(x)))``, which see edges and overlap, so that position
    and locality need not be learned. Then blocks ``x + Attention(LN(x))``, ``x + MLP(LN(x))``; what is classified is a
    token of its own ("class"), or a weighted mean of all, ``softmax(g(x))^T x`` ("sequence"), which wastes none.

    Hassani et al. 2021, "Escaping the Big Data Paradigm with Compact Transformers": ViT-Lite has patches and a class
    token, CVT patches and a weighted mean, CCT convolutions and a weighted mean.

    Attributes:
        size: pixels of an image's side.
        channels: 1 for grey images, 3 for coloured ones.
        classes: that are told apart.
        tokens: "convolutions" or "patches".
        pooling: "sequence" or "class".
        convolutions: layers of the convolutional tokenizer; each halves the image.
        kernel: pixels of a convolution's side.
        patch: pixels of a patch's side.
        width: of the token vectors.
        depth: blocks.
        heads: of each attention.
        widen: how much wider the MLPs are inside.
        positions: whether positions are learned.
        dropout: share of the activations that are dropped in training.
    """

    size: int = Field(default=28, ge=4)
    channels: int = Field(default=1, ge=1)
    classes: int = Field(default=10, ge=2)
    tokens: Literal["convolutions", "patches"] = "convolutions"
    pooling: Literal["sequence", "class"] = "sequence"
    convolutions: int = Field(default=2, ge=1)
    kernel: int = Field(default=3, ge=1)
    patch: int = Field(default=4, ge=1)
    width: int = Field(default=64, ge=1)
    depth: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    widen: float = Field(default=2.0, gt=0)
    positions: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")
        if self.tokens == "patches" and self.size % self.patch:
            raise ValueError(f"an image of {self.size} pixels cannot be cut in patches of {self.patch}")
        if self.tokens == "convolutions" and (self.kernel % 2 == 0 or self.size < 2**self.convolutions):
            raise ValueError("'kernel' is odd, and each convolution halves the image")
        return self

    def build(self, *, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return _Classifier(self)

    def cost(self) -> Cost:
        inner = int(self.width * self.widen)
        block = 4 * self.width + _linear(self.width, 3 * self.width) + _linear(self.width, self.width) \
            + _linear(self.width, inner) + _linear(inner, self.width)
        positions = self.width * (self.count + (self.pooling == "class")) if self.positions else 0
        return Cost(parameters=self._tokenizer() + positions + self.depth * block + 3 * self.width
                    + _linear(self.width, self.classes))

    @property
    def count(self) -> int:
        """Tokens of an image."""
        side = self.size // self.patch if self.tokens == "patches" else self._halved()
        return side * side

    def _halved(self) -> int:
        side = self.size
        for _ in range(self.convolutions):
            side = (side + 1) // 2
        return side

    def _tokenizer(self) -> int:
        if self.tokens == "patches":
            return self.channels * self.patch**2 * self.width + self.width
        widths = self.widths
        return sum(a * b * self.kernel**2 for a, b in itertools.pairwise(widths))

    @property
    def widths(self) -> list[int]:
        """Channels before, between and after the convolutions: doubled up to the width of a token."""
        return [self.channels, *(max(1, self.width >> (self.convolutions - 1 - i)) for i in range(self.convolutions))]


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


class _Classifier(nn.Module):
    """Images [B, C, S, S] to logits [B, classes]."""

    def __init__(self, shape: CompactTransformer) -> None:
        super().__init__()
        self.tokens = _convolutions(shape) if shape.tokens == "convolutions" else _patches(shape)
        own = shape.pooling == "class"
        self.own = nn.Parameter(torch.zeros(1, 1, shape.width)) if own else None
        places = torch.empty(1, shape.count + own, shape.width)
        self.places = nn.Parameter(nn.init.trunc_normal_(places, std=0.2)) if shape.positions else None
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width)
        self.weigh = None if own else nn.Linear(shape.width, 1, bias=False)  # softmax would not feel a bias
        self.head = nn.Linear(shape.width, shape.classes)
        self.apply(_small)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.tokens(images).flatten(2).transpose(1, 2)
        if self.own is not None:
            x = torch.cat([self.own.expand(len(x), -1, -1), x], dim=1)
        x = self.dropout(x if self.places is None else x + self.places)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.weigh is None:
            return self.head(x[:, 0])
        return self.head((self.weigh(x).softmax(dim=1).transpose(1, 2) @ x)[:, 0])


class _Block(nn.Module):
    """Attention and an MLP, each normed before and added."""

    def __init__(self, shape: CompactTransformer) -> None:
        super().__init__()
        inner = int(shape.width * shape.widen)
        self.heads, self.drop = shape.heads, shape.dropout
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv, self.out = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.wide, self.narrow = nn.Linear(shape.width, inner), nn.Linear(inner, shape.width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        x = hidden_states + self.dropout(self.out(self._attended(self.norm1(hidden_states))))
        return x + self.dropout(self.narrow(self.dropout(F.gelu(self.wide(self.norm2(x))))))

    def _attended(self, x: torch.Tensor) -> torch.Tensor:
        batch, count, width = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        drop = self.drop if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=drop).transpose(1, 2).reshape(batch, count, width)


def _convolutions(shape: CompactTransformer) -> nn.Module:
    widths, layers = shape.widths, []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, shape.kernel, padding=shape.kernel // 2, bias=False), nn.ReLU(),
                   nn.MaxPool2d(3, stride=2, padding=1)]
    return nn.Sequential(*layers)


def _patches(shape: CompactTransformer) -> nn.Module:
    return nn.Conv2d(shape.channels, shape.width, shape.patch, stride=shape.patch)


def _small(module: nn.Module) -> None:
    """First weights: small normal ones for linear layers, He et al.'s for convolutions."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)


preset("cct", CompactTransformer, papers=(370,))
preset("cvt", CompactTransformer, papers=(370,), tokens="patches")
preset("vit-lite", CompactTransformer, tokens="patches", pooling="class")
