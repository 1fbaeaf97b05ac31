"""A shadow of a long vector: random signs and folding, generated and never stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch

from scrimp.compute.kernels import kernels_for

__all__ = ["Projection"]

_HELD = 1 << 24  # signs that are held while a pass lasts; those of longer vectors are made again each time


@dataclass
class Projection:
    """Shadows of W numbers in place of long vectors that come in parts.

    A part is given random signs, cut into pieces no longer than a shadow, and each piece is added from a random place
    on, its end where the shadow begins: a count sketch (Charikar, Chen and Farach-Colton 2002, "Finding Frequent Items
    in Data Streams") in which no two numbers of a piece meet. The inner product of two shadows is that of the vectors
    in the mean over seeds; its variance is ``(|x|^2 |y|^2 + (x y)^2 - 2 sum x_i^2 y_i^2) / W`` if nothing is known of
    the vectors, and less by what meets within a piece there.

    Attributes:
        width: W.
        seed: of the signs and places.
    """

    width: int
    seed: int
    _held: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    _size: int = 0

    def fold(self, into: torch.Tensor, part: torch.Tensor, name: str) -> torch.Tensor:
        """Add a part of N vectors to their shadows.

        Args:
            into: float32 [N, W].
            part: float32 [N, ...], of each vector the same part.
            name: of the part, which decides its signs and places.

        Returns:
            The squares of the parts' lengths, float32 [N].
        """
        flat = part.flatten(1)
        signs, places = (drawn.to(flat.device) for drawn in self._drawn(name, flat.shape[1]))
        return kernels_for(into).folded(flat, signs, places, into)

    def _drawn(self, name: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 [count] of signs, and int64 [pieces], the place of each piece."""
        if (found := self._held.get(name)) is not None:
            return found
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{self.seed} {name}".encode()).digest()[:8], "big"))
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-count // 8)), dtype=np.uint8), count=count)
        signs = torch.from_numpy(bits.astype(np.float32)).mul_(2).sub_(1)
        drawn = signs, torch.from_numpy(rng.integers(self.width, size=-(-count // self.width)))
        if self._size + count <= _HELD:
            self._held[name], self._size = drawn, self._size + count
        return drawn
