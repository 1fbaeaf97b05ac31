"""The kernels: whichever computes, the numbers are those of plain torch, whose own are those of autograd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scrimp.compute.attention import forest_attention
from scrimp.compute.blocks import Blocks
from scrimp.compute.forest import Forest
from scrimp.compute.kernels import Kernels, kernels_for, native
from scrimp.compute.kernels.compiled import Compiled

EPS = 1e-6
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


@pytest.fixture(scope="module")
def compiled() -> native.Native:
    library = native.library()
    if library is None:
        assert not native.compiler(), "there is a compiler, and the kernels were not compiled"
        pytest.skip("there is no C++ compiler")
    return native.Native(library)


@pytest.fixture(params=["plain torch", "compiled"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return Kernels() if request.param == "plain torch" else request.getfixturevalue("compiled")


def random(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * scale).to(dtype)


def answers(kernels: Kernels, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """What each kernel makes of the same inputs."""
    x, angle = random(37, 6, 16, dtype=dtype), random(37, 8)
    cos, sin = torch.cat([angle.cos()] * 2, 1), torch.cat([angle.sin()] * 2, 1)
    turned = kernels.rotated(x, cos, sin, 2, 0.25)
    gate, up, towards = (random(5, n, dtype=dtype, scale=3) for n in (70, 71, 72))
    gate, up, towards = gate[:, :70].contiguous(), up[:, :70].contiguous(), towards[:, :70].contiguous()
    weight, logits = random(70), random(9, 501, dtype=dtype, scale=5)
    losses = kernels.cross_entropy(logits, torch.arange(9) * 50)
    for_gate, for_up = kernels.gated_backward(towards, gate, up)
    return {"rotated": turned, "rotated_back": kernels.rotated_back(turned, cos, sin, 0.25),
            "rms_norm": kernels.rms_norm(gate, weight, EPS),
            "rms_norm_backward": kernels.rms_norm_backward(towards, gate, weight, EPS),
            "gated": kernels.gated(gate, up), "for_gate": for_gate, "for_up": for_up, "losses": losses,
            "logits": logits}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_torchs_compiler_gives_the_numbers_of_plain_torch(compiled: native.Native, dtype: torch.dtype) -> None:
    agree(answers(Compiled(), dtype), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_compiled_kernels_give_the_numbers_of_plain_torch(compiled: native.Native, dtype: torch.dtype) -> None:
    agree(answers(compiled, dtype), dtype)


def agree(given: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    for name, usual in answers(Kernels(), dtype).items():
        found = given[name]
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


def some_forest() -> Forest:
    rng = np.random.default_rng(3)
    instruction, example = rng.integers(0, 9, 45), rng.integers(0, 9, 21)
    rows = [np.concatenate([instruction, *([example] * deep), rng.integers(10, 99, more)])
            for deep, more in ((0, 1), (0, 38), (1, 17), (1, 70))] + [rng.integers(100, 200, 133)]
    forest = Forest.of(rows)
    assert len(forest.nodes) == 7 and max(len(node.above) for node in forest.nodes) == 2
    return forest


def attended(kernels: Kernels, dtype: torch.dtype, group: int, width: int) -> dict[str, torch.Tensor]:
    """What attention over a forest of odd lengths and several levels reads, and its gradients."""
    forest = some_forest()
    blocks, tokens = Blocks(forest, kernels.queries), len(forest.ids)
    q, k, v = (random(*shape, dtype=dtype, scale=0.7) for shape in (
        (2, tokens, group, width), (2, tokens, width), (2, tokens, width)))
    read, kept = kernels.attention(q, k, v, blocks)
    given = random(*read.shape, dtype=dtype)
    found = kernels.attention_backward(given, q, k, v, read, kept, blocks)
    return {"read": read, **dict(zip("qkv", found, strict=True))}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("group", "width"), [(1, 64), (3, 32), (8, 48), (5, 16), (3, 24)])
def test_compiled_attention_is_that_of_plain_torch(compiled: native.Native, dtype: torch.dtype, group: int,
                                                   width: int) -> None:
    precise = attended(Kernels(), torch.float32, group, width)
    for name, found in attended(compiled, dtype, group, width).items():
        assert found.dtype == dtype and found.shape == precise[name].shape, name
        usual = attended(Kernels(), dtype, group, width)[name].float()
        apart = (found.float() - precise[name]).norm() / precise[name].norm()
        assert apart <= max(TOLERANCE[dtype], 1.5 * (usual - precise[name]).norm() / precise[name].norm()), name


def test_plain_attention_has_the_gradients_of_autograd() -> None:
    kernels, forest = Kernels(), Forest.of([np.arange(150), np.arange(150) % 140])
    tokens, blocks = len(forest.ids), Blocks(forest, 32)
    q, k, v = (random(*shape).requires_grad_() for shape in ((2, tokens, 3, 8), (2, tokens, 8), (2, tokens, 8)))
    visible = torch.zeros(tokens, tokens, dtype=torch.bool)
    for node in forest.nodes:
        for at in range(node.start, node.end):
            for start, end in (*node.above, (node.start, at + 1)):
                visible[at, start:end] = True
    scores = torch.einsum("htgd,hsd->htgs", q, k).masked_fill(~visible[None, :, None], -torch.inf)
    wanted = torch.einsum("htgs,hsd->thgd", scores.softmax(-1), v).flatten(1)
    read, kept = kernels.attention(q.detach(), k.detach(), v.detach(), blocks)
    assert torch.allclose(read, wanted, atol=1e-5)
    given = random(*read.shape)
    found = kernels.attention_backward(given, q.detach(), k.detach(), v.detach(), read, kept, blocks)
    for ours, theirs in zip(found, torch.autograd.grad(wanted, [q, k, v], given), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_torchs_own_attention_is_that_of_plain_torch() -> None:
    forest = some_forest()
    tokens, found = len(forest.ids), []
    cos, sin = random(tokens, 16).cos(), random(tokens, 16).sin()
    given = [random(tokens, heads, 16) for heads in (6, 2, 2)]
    for kernels in (Kernels(), Compiled()):
        kernels.rotated = Kernels().rotated  # type: ignore[method-assign]
        found.append(forest_attention(*given, cos, sin, scale=0.25, blocks=Blocks(forest, 32), kernels=kernels))
    assert torch.allclose(*found, atol=1e-5)  # torch has its gradient on GPUs only


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("left", "right"), [(8, 70), (70, 8), (3, 64), (13, 5), (1, 1), (80, 90)])
def test_outer_products_are_summed_over_the_tokens_of_each_row(kernels: Kernels, dtype: torch.dtype, left: int,
                                                               right: int) -> None:
    lengths = [5, 5, 1, 17]
    a, b = random(sum(lengths), left, dtype=dtype), random(sum(lengths), right + 1, dtype=dtype)[:, :right]
    found = kernels.outer_sums(a, b, lengths)
    assert found.dtype == torch.float32 and found.shape == (4, left, right)
    wanted = torch.stack([x.t() @ y for x, y in zip(a.float().split(lengths), b.float().split(lengths), strict=True)])
    for ours, exact in zip(found, wanted, strict=True):
        assert (ours - exact).norm() <= TOLERANCE[dtype] * exact.norm()


@pytest.mark.parametrize("count", [1, 31, 32, 33, 200])
def test_parts_are_folded_into_shadows(kernels: Kernels, count: int) -> None:
    width, pieces = 32, -(-count // 32)
    parts, signs, places = random(3, count), random(count).sign(), torch.arange(pieces) * 11 % width
    into = random(3, width)
    wanted = into.clone()
    for j in range(count):
        wanted[:, (places[j // width] + j % width) % width] += signs[j] * parts[:, j]
    squares = kernels.folded(parts, signs, places, into)
    assert torch.allclose(into, wanted, atol=1e-5) and torch.allclose(squares, parts.square().sum(1))


def test_threads_change_attention_by_rounding_alone(compiled: native.Native) -> None:
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(attended(compiled, torch.float32, 3, 32))
    torch.set_num_threads(before)
    for one in found[1:]:
        assert all(torch.allclose(one[name], found[0][name], atol=1e-5) for name in one)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_memory_that_a_kernel_does_not_get_is_an_error(compiled: native.Native, dtype: torch.dtype) -> None:
    blocks = Blocks(Forest.of([np.array([1, 2, 3]), np.array([1, 2, 4])]), compiled.queries)
    q, k, v = (random(2, len(blocks.until), *more, 16, dtype=dtype) for more in ((2,), (), ()))
    read, kept = compiled.attention(q, k, v, blocks)
    blocks.__dict__["largest"] = len(blocks), 1 << 20, 1 << 40
    with pytest.raises(MemoryError, match="attention"):
        compiled.attention(q, k, v, blocks)
    with pytest.raises(MemoryError, match="attention_backward"):
        compiled.attention_backward(torch.ones_like(read), q, k, v, read, kept, blocks)


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
