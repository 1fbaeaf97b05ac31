"""The kernels: whichever computes, the numbers are those of plain torch, whose own are those of autograd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from scrimp.compute.kernels import Kernels, kernels_for, native

EPS = 1e-6
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


@pytest.fixture(scope="module")
def compiled() -> native.Native:
    library = native.library()
    if library is None:
        assert not native.compiler(), "there is a compiler, and the kernels were not compiled"
        pytest.skip("there is no C++ compiler")
    return native.Native(library)


def random(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * scale).to(dtype)


def answers(kernels: Kernels, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """What each kernel makes of the same inputs."""
    x, angle = random(37, 6, 16, dtype=dtype), random(37, 8)
    cos, sin = torch.cat([angle.cos()] * 2, 1), torch.cat([angle.sin()] * 2, 1)
    turned = kernels.rotated(x, cos, sin, 2, 0.25)
    likely = kernels.softmax(random(2, 33, 20, dtype=dtype, scale=4), 3, 11)
    gate, up, towards = (random(5, n, dtype=dtype, scale=3) for n in (70, 71, 72))
    gate, up, towards = gate[:, :70].contiguous(), up[:, :70].contiguous(), towards[:, :70].contiguous()
    weight, logits = random(70), random(9, 501, dtype=dtype, scale=5)
    losses = kernels.cross_entropy(logits, torch.arange(9) * 50)
    for_gate, for_up = kernels.gated_backward(towards, gate, up)
    return {"rotated": turned, "rotated_back": kernels.rotated_back(turned, cos, sin, 0.25), "softmax": likely.clone(),
            "softmax_backward": kernels.softmax_backward(random(2, 33, 20, dtype=dtype), likely),
            "rms_norm": kernels.rms_norm(gate, weight, EPS),
            "rms_norm_backward": kernels.rms_norm_backward(towards, gate, weight, EPS),
            "gated": kernels.gated(gate, up), "for_gate": for_gate, "for_up": for_up, "losses": losses,
            "logits": logits}


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_compiled_kernels_give_the_numbers_of_plain_torch(compiled: native.Native, dtype: torch.dtype) -> None:
    for name, usual in answers(Kernels(), dtype).items():
        found = answers(compiled, dtype)[name]
        assert found.dtype == usual.dtype and found.shape == usual.shape, name
        assert (found.float() - usual.float()).norm() <= TOLERANCE[dtype] * usual.float().norm(), name


def test_plain_kernels_have_the_gradients_of_autograd() -> None:
    kernels, weight = Kernels(), random(70)
    gate, up, towards = (random(5, 70 + n)[:, :70].contiguous().requires_grad_() for n in range(3))
    for value, found in (
        (kernels.rms_norm(gate, weight, EPS), [kernels.rms_norm_backward(towards, gate, weight, EPS)]),
        (kernels.gated(gate, up), kernels.gated_backward(towards, gate, up)),
    ):
        wanted = torch.autograd.grad(value, [gate, up], towards, allow_unused=True)
        for ours, theirs in zip(found, wanted, strict=False):
            assert torch.allclose(ours, theirs, atol=1e-5)
    logits, targets = random(9, 501, scale=5).requires_grad_(), torch.arange(9)
    usual = F.cross_entropy(logits, targets, reduction="none")
    (wanted_logits,) = torch.autograd.grad(usual.sum(), logits)
    ours = logits.detach().clone()
    assert torch.allclose(kernels.cross_entropy(ours, targets), usual, atol=1e-5)
    assert torch.allclose(ours, wanted_logits, atol=1e-6)


def test_queries_do_not_see_later_tokens(compiled: native.Native) -> None:
    for kernels in (Kernels(), compiled):
        likely = kernels.softmax(random(1, 6, 5), 2, 3)  # three tokens, two queries each, after two tokens above
        assert (likely[0] > 0).tolist() == [[True] * seen + [False] * (5 - seen) for seen in (3, 3, 4, 4, 5, 5)]
        assert torch.allclose(likely.sum(-1), torch.ones(1, 6), atol=1e-6)


def test_extreme_numbers_stay_numbers(compiled: native.Native) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e30, 1e30, 0.0]])
    losses = compiled.cross_entropy(logits, torch.tensor([0, 1]))
    assert losses.tolist() == [0.0, 0.0] and torch.isfinite(logits).all()
    gate = torch.tensor([[-1e4, 1e4, 0.0, float("nan")]])
    found = compiled.gated(gate, torch.ones_like(gate))
    assert torch.allclose(found[0, :3], torch.tensor([0.0, 1e4, 0.0])) and found[0, 3].isnan()


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = ("import torch; from scrimp.compute.kernels import kernels_for; "
            "print(kernels_for(torch.zeros(1)).name)")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True,
                          env={**os.environ, "SCRIMP_CACHE": str(tmp_path / "cache"), **environment})


def test_without_a_compiler_plain_torch_computes(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    assert run(tmp_path, PATH=str(tmp_path / "bin")).stdout == "eager\n"


def test_a_compiler_that_fails_is_told_of_and_plain_torch_computes(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo broken 1.0 && exit 0\n"
                      "echo no such processor >&2\nexit 1\n")
    broken.chmod(0o755)
    found = run(tmp_path, CXX=str(broken))
    assert found.stdout == "eager\n" and "no such processor" in found.stderr


def test_a_cache_that_cannot_be_written_is_told_of_and_plain_torch_computes(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    found = run(tmp_path)
    assert found.stdout == "eager\n" and "could not be compiled" in found.stderr


def test_other_types_are_left_to_plain_torch() -> None:
    assert kernels_for(torch.zeros(1, dtype=torch.float16)).name == "eager"
