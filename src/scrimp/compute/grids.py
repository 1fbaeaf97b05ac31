"""Grids of few values, row by row, on which the weights of a layer are put while they are trained."""

from __future__ import annotations

import torch

__all__ = ["on_even_grid", "on_float_grid"]

_TINY = 1e-12


def on_even_grid(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """``weight`` [R, D] at the nearest of ``2^bits - 1`` evenly spaced values of each row, zero in their middle.

    Args:
        weight: floating point; its largest magnitude in a row is the last value of the row's grid.
        bits: 2 at least.
    """
    spacing = (weight.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=_TINY)
    return (weight / spacing).round() * spacing


def on_float_grid(weight: torch.Tensor, exponent_bits: int, mantissa_bits: int) -> torch.Tensor:
    """``weight`` [R, D] at the nearest number with so few bits, times a factor of its row.

    A number has a sign, an exponent and a mantissa; the lowest exponent's numbers go down to zero evenly, and no
    pattern of bits is kept for infinity. With two and one bits they are 0, 0.5, 1, 1.5, 2, 3, 4 and 6.

    Args:
        weight: floating point; its largest magnitude in a row becomes the largest number.
        exponent_bits: from 1 to 5.
        mantissa_bits: 0 at least.
    """
    largest = 2.0 ** (2**exponent_bits - 2) * (2 - 2.0**-mantissa_bits)
    factor = (weight.abs().amax(dim=1, keepdim=True) / largest).clamp(min=_TINY)
    numbers = weight / factor
    exponents = numbers.abs().clamp(min=1.0).log2().floor()
    spacing = torch.exp2(exponents - mantissa_bits)
    return (numbers / spacing).round() * spacing * factor
