"""Frozen linear layers held in four bits: about a quarter of bfloat16's memory, unpacked at each use.

4-bit NormalFloat: blocks of 64 weights, each a place in a table of 16 quantiles of the normal distribution times the
block's largest, these scales in eight bits themselves. Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized
LLMs". Packed and unpacked by bitsandbytes. Its own layer is not used: on processors with bfloat16 instructions it packs
itself anew when it is first evaluated, with scales rounded once more, and passes no gradient on from then on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scrimp.core.errors import ModelError, OptionError

__all__ = ["Bits", "NF4Linear", "bits_of", "quantize", "quantized_by", "weight_dtype", "weights_in"]

#: of a base's linear layers: 16 stands for whatever they were loaded in
Bits = Literal[4, 16]

_BLOCK = 64
# when it is imported, by PEFT too, it says that a package is missing which only its own layer would use
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


class NF4Linear(nn.Linear):
    """A frozen linear layer whose weight is held in four bits.

    What it computes is ``y = W x + b`` with the unpacked ``weight``, in the precision of its input or of autocast.

    Args:
        layer: whose weight [O, I], float32 or bfloat16, is packed; I is even. Its bias is kept as it is.

    Attributes:
        packed: two weights a byte, uint8 [O I / 2, 1].
        state: bitsandbytes' scales and how to read them.
    """

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)  # that of the parent would make a whole weight
        weight = layer.weight.detach()
        packed, self.state = quantized_by().quantize_4bit(weight, blocksize=_BLOCK, compress_statistics=True,
                                                          quant_type="nf4")
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.packed = nn.Parameter(packed, requires_grad=False)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight [O, I], unpacked anew: what is written into it is lost."""
        return quantized_by().dequantize_4bit(self.packed, self.state)

    def forward(self, input: Tensor) -> Tensor:
        from bitsandbytes import matmul_4bit  # keeps the packed weight for the backward pass

        kind = input.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else input.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return matmul_4bit(input.to(dtype), self.packed, bias=bias, quant_state=self.state)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NF4Linear:
        super()._apply(fn, recurse)
        self.state.to(self.packed.device)
        return self


def quantized_by() -> Any:
    """The functions of bitsandbytes.

    Raises:
        OptionError: if it is not installed, or cannot be loaded.
    """
    try:
        from bitsandbytes import functional
    except (ImportError, OSError, RuntimeError) as error:
        raise OptionError("a base in four bits needs bitsandbytes, which cannot be loaded here", why=str(error),
                          fix="pip install 'scrimp[quantized]', or leave the base as it is") from None
    return functional


def quantize(body: Any) -> None:
    """Put the weights of all linear layers of ``body`` into four bits, in place: not the output layer, nor embeddings.

    Layers of an odd input width stay as they are. The result depends on the weights alone.

    Raises:
        ModelError: it has no such layer, or one whose weight another module uses too; ``body`` is unchanged then.
        OptionError: see `quantized_by`.
    """
    quantized_by()
    names = [name for name, _ in _packable(body)]
    if not names:
        raise ModelError("has no linear layer whose weight could be put into four bits", where=type(body).__name__,
                         fix="leave the base as it is")
    _check_unshared(body, names)
    for name in names:  # one after another, so that what is replaced can go at once
        body.set_submodule(name, NF4Linear(body.get_submodule(name)))


def _packable(body: Any) -> Iterator[tuple[str, nn.Linear]]:
    output = getattr(body, "get_output_embeddings", lambda: None)()
    for name, layer in body.named_modules():
        if type(layer) is nn.Linear and layer is not output and name and layer.in_features % 2 == 0:
            yield name, layer


def _check_unshared(body: nn.Module, names: Iterable[str]) -> None:
    users: dict[int, list[str]] = {}
    for name, parameter in body.named_parameters(remove_duplicate=False):
        users.setdefault(id(parameter), []).append(name)
    for name in names:
        if len(shared := users[id(body.get_parameter(f"{name}.weight"))]) > 1:
            raise ModelError("two modules of the model share a weight, which in four bits would become two",
                             where=" and ".join(sorted(shared)[:2]), fix="leave the base as it is")


def bits_of(model: nn.Module) -> Bits:
    """In what its linear layers are held."""
    return 4 if any(isinstance(module, NF4Linear) for module in model.modules()) else 16


def weight_dtype(layer: nn.Linear) -> torch.dtype:
    """Of a layer's weight as it is computed with; nothing is unpacked to tell."""
    return layer.state.dtype if isinstance(layer, NF4Linear) else layer.weight.dtype


def weights_in(parameters: Iterable[Tensor]) -> int:
    """How many weights these tensors hold: two in each byte of a packed one."""
    return sum(p.numel() * (2 if p.dtype == torch.uint8 else 1) for p in parameters)
