"""The kernels in C++, compiled where they run; see `native.cpp`, `attention.cpp` and `rowwise.cpp`.

They are compiled on first use rather than when scrimp is installed: only then is it known which instructions the
processor has that they run on, and an installation may be moved to another machine. What was compiled is kept in the
cache, addressed by source, compiler and processor.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from scrimp.compute.kernels.eager import Kernels
from scrimp.core.assets import cache
from scrimp.core.errors import WorkspaceError
from scrimp.core.progress import say
from scrimp.core.workspace import fingerprint

if TYPE_CHECKING:
    from scrimp.compute.blocks import Blocks

__all__ = ["Native", "compiler", "library"]

_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math",
          "-fno-signed-zeros")
_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}
_SOURCES = ("numbers.h", "native.cpp", "attention.cpp", "rowwise.cpp")
_LANES = 16  # a head's width is a multiple of these, or its attention is left to plain torch
_NARROW = 64  # numbers of a token up to which sums of outer products are computed here
_TIMEOUT_S = 300


class Native(Kernels):
    """C++ for float32 and bfloat16 on a CPU; everything else as in plain torch."""

    name = "native"
    queries = 32

    def __init__(self, compiled: ctypes.CDLL) -> None:
        self._compiled = compiled

    def rotated(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, groups: int,
                scale: float) -> torch.Tensor:
        tokens, heads, width = x.shape
        out = x.new_empty(groups, tokens, heads // groups, width)
        self._call("rotated", x.contiguous(), cos.contiguous(), sin.contiguous(), out, tokens, groups, heads // groups,
                   width, scale)
        return out

    def rotated_back(self, gradient: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, scale: float) -> torch.Tensor:
        groups, tokens, group, width = gradient.shape
        out = gradient.new_empty(tokens, groups * group, width)
        self._call("rotated_back", gradient.contiguous(), cos.contiguous(), sin.contiguous(), out, tokens, groups,
                   group, width, scale)
        return out

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
                  blocks: Blocks) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        if q.shape[-1] % _LANES:
            return super().attention(q, k, v, blocks)
        heads, tokens, group, width = q.shape
        read = q.new_empty(tokens, heads * group * width)
        normaliser = torch.empty(heads, tokens, group)
        self._call("attention", q, k.contiguous(), v, read, normaliser, *blocks.tables, *blocks.largest, tokens, heads,
                   group, width)
        return read, [normaliser]

    def attention_backward(self, gradient: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
                           read: torch.Tensor, kept: Sequence[torch.Tensor],
                           blocks: Blocks) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if q.shape[-1] % _LANES:
            return super().attention_backward(gradient, q, k, v, read, kept, blocks)
        heads, tokens, group, width = q.shape
        k = k.contiguous()
        dq, dk, dv = (torch.empty_like(one) for one in (q, k, v))
        self._call("attention_backward", gradient, q, k, v, read, *kept, dq, dk, dv, *blocks.tables, *blocks.largest,
                   tokens, heads, group, width)
        return dq, dk, dv

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        out = torch.empty_like(x)
        self._call("rms_norm", x, weight.float(), out, *_rows(x), eps)
        return out

    def rms_norm_backward(self, gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor,
                          eps: float) -> torch.Tensor:
        out = torch.empty_like(x)
        self._call("rms_norm_backward", gradient, x, weight.float(), out, *_rows(x), eps)
        return out

    def gated(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(gate)
        self._call("gated", gate, up, out, *_rows(gate))
        return out

    def gated_backward(self, gradient: torch.Tensor, gate: torch.Tensor,
                       up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for_gate, for_up = torch.empty_like(gate), torch.empty_like(up)
        self._call("gated_backward", gradient, gate, up, for_gate, for_up, *_rows(gate))
        return for_gate, for_up

    def cross_entropy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = torch.empty(len(logits), dtype=torch.float32)
        self._call("cross_entropy", logits, targets.contiguous(), losses, *_rows(logits))
        return losses

    def outer_sums(self, left: torch.Tensor, right: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        sizes = left.shape[1], right.shape[1]
        if min(sizes) > _NARROW or left.dtype != right.dtype or left.dtype not in _SUFFIX:
            return super().outer_sums(left, right, lengths)
        starts = torch.tensor([0, *accumulate(lengths)])
        out = torch.empty(len(lengths), *sizes)
        self._call("outer_sums", left.contiguous(), right.contiguous(), starts, out, len(lengths), *sizes)
        return out

    def folded(self, parts: torch.Tensor, signs: torch.Tensor, places: torch.Tensor,
               into: torch.Tensor) -> torch.Tensor:
        squares = torch.empty(len(parts))
        self._call("folded", parts.contiguous(), signs, places, into, squares, *parts.shape, into.shape[1])
        return squares

    def _call(self, name: str, *given: torch.Tensor | int | float) -> None:
        """Call the function for the first tensor's dtype; all tensors are contiguous.

        Raises:
            MemoryError: it got none to work in.
        """
        first = given[0]
        assert isinstance(first, torch.Tensor)
        function = getattr(self._compiled, f"{name}_{_SUFFIX[first.dtype]}")
        if function(*map(_argument, given), ctypes.c_int(torch.get_num_threads())):
            raise MemoryError(f"there is no memory for the kernel '{name}'")


def _argument(value: torch.Tensor | int | float) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float:
    if isinstance(value, torch.Tensor):
        assert value.is_contiguous(), "the kernels read memory in order"
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int64(value)


def _rows(x: torch.Tensor) -> tuple[int, int]:
    return x.numel() // x.shape[-1], x.shape[-1]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there is no compiler, or it fails, which is said once."""
    if (found := compiler()) is None:
        return None
    sources = {name: files("scrimp.compute.kernels").joinpath(name).read_text() for name in _SOURCES}
    try:
        kept = cache().step("kernels", [sources, _FLAGS, _version(found), _processor()],
                            lambda folder: _compile(found, sources, folder))
        return ctypes.CDLL(str(kept / "native.so"))
    except (OSError, subprocess.SubprocessError, WorkspaceError) as error:
        say(f"the C++ kernels could not be compiled, slower ones are used ({_reason(error)})")
        return None


def compiler() -> str | None:
    """The C++ compiler of this machine."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)


def _compile(compiler: str, sources: dict[str, str], folder: Path) -> None:
    for name, text in sources.items():
        (folder / name).write_text(text)
    base = [compiler, *_FLAGS, "-shared", *(name for name in sources if name.endswith(".cpp")), "-o", "native.so"]
    for threads in (["-fopenmp"], []):  # without OpenMP's library they run on one thread
        done = subprocess.run([*base, *threads], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S,
                              check=not threads)
        if done.returncode == 0:
            return


def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S,
                          check=True).stdout


def _processor() -> str:
    """What tells processors with different instructions apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = {line for line in lines if line.startswith(("flags", "Features"))} or {platform.processor()}
    return fingerprint([platform.machine(), sorted(flags)])


def _reason(error: Exception) -> str:
    told = getattr(error, "stderr", None) or str(error)
    return told.strip().splitlines()[-1] if told.strip() else type(error).__name__
