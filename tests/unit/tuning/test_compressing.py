"""Optimizers that prune or round what they move."""

import pytest
import torch
from torch import nn

from scrimp.compute.grids import on_even_grid, on_float_grid
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build


def stepped(method, steps, *, seed=0):
    """A matrix of a numbered layer, another one and a bias after each of some steps of random gradients."""
    torch.manual_seed(seed)
    named = {"layers.0.weight": nn.Parameter(torch.randn(8, 10)), "embed.weight": nn.Parameter(torch.randn(8, 10)),
             "layers.0.bias": nn.Parameter(torch.randn(8))}
    optimizer, seen = method.build(named.items(), steps), []
    for _ in range(steps):
        for value in named.values():
            value.grad = torch.randn_like(value)
        optimizer.step()
        seen.append({name: value.detach().clone() for name, value in named.items()})
    return seen, optimizer


def test_pruning_begins_rises_and_ends_as_it_is_told_and_nothing_comes_back():
    seen, _ = stepped(build("optimizer", "gradual-pruning", {"sparsity": 0.8, "prune_every": 1}), 40)
    zero = torch.stack([one["layers.0.weight"] == 0 for one in seen])
    shares = zero.float().mean(dim=(1, 2))
    assert shares[9] == 0 < shares[11] < shares[20] < shares[29] == shares[39] == pytest.approx(0.8)
    assert (zero[1:] | ~zero[:-1]).all()
    assert not (seen[-1]["embed.weight"] == 0).any() and not (seen[-1]["layers.0.bias"] == 0).any()


def test_the_smallest_are_pruned():
    method = build("optimizer", "gradual-pruning", {"sparsity": 0.5, "pruning_begins": 0.5, "pruning_ends": 0.5,
                                                     "learning_rate": 1e-9})
    seen, _ = stepped(method, 10)
    before, after = seen[0]["layers.0.weight"], seen[-1]["layers.0.weight"]
    assert before[after == 0].abs().max() < before[after != 0].abs().min()


def test_pruning_at_once_at_the_end_or_from_the_start():
    for moment, zeros in ((0.0, 40), (1.0, 0)):
        options = {"sparsity": 0.5, "pruning_begins": moment, "pruning_ends": moment}
        seen, _ = stepped(build("optimizer", "gradual-pruning", options), 20)
        assert [int((seen[i]["layers.0.weight"] == 0).sum()) for i in (18, 19)] == [zeros, 40]
    with pytest.raises(OptionError, match="comes after"):
        build("optimizer", "gradual-pruning", {"pruning_begins": 0.8})


def test_weights_are_rounded_in_the_last_part_and_masters_move():
    method = build("optimizer", "qat", {"weight_bits": 2, "rounded_share": 0.5, "learning_rate": 1e-3})
    seen, optimizer = stepped(method, 20)
    values = [max(len(row.unique()) for row in one["layers.0.weight"]) for one in seen]
    assert min(values[:9]) > 3 >= max(values[9:])
    assert max(len(row.unique()) for row in seen[-1]["embed.weight"]) > 3
    (master,) = [state["master"] for state in optimizer.state.values() if "master" in state]
    exact, _ = stepped(build("optimizer", "adamw", {"learning_rate": 1e-3}), 20)
    assert torch.allclose(master, exact[-1]["layers.0.weight"], atol=1e-6)  # these gradients depend on no weight
    assert torch.equal(seen[-1]["layers.0.weight"], on_even_grid(master, 2))


def test_without_a_share_nothing_is_rounded():
    plain, rounded = (stepped(build("optimizer", name, options), 8)[0][-1] for name, options in (
        ("adamw", {}), ("qat", {"rounded_share": 0.0})))
    assert all(torch.equal(value, plain[name]) for name, value in rounded.items())


@pytest.mark.parametrize("name", ["qat", "float-training", "gradual-pruning"])
def test_an_adapters_matrices_are_left_alone(name):
    named = {"layers.0.q.lora_A.default.weight": nn.Parameter(torch.randn(8, 10)), "head.weight": nn.Parameter(
        torch.randn(2, 10))}
    with pytest.raises(ModelError, match="no matrix of a numbered layer"):
        build("optimizer", name).build(named.items(), 10)


def test_float_numbers_are_those_of_so_few_bits():
    numbers = torch.tensor([[0.0, 0.2, 0.3, 0.8, 1.2, 1.6, 2.4, 2.6, 3.4, 3.6, 4.9, 5.1, -6.0]])
    assert on_float_grid(numbers, 2, 1).tolist() == [[0, 0, .5, 1, 1, 1.5, 2, 3, 3, 4, 4, 6, -6]]
    weight = torch.randn(5, 300)
    for exponent, mantissa in ((1, 2), (2, 1), (3, 0), (4, 3), (5, 2)):
        found = on_float_grid(weight, exponent, mantissa)
        assert max(len(row.unique()) for row in found) < 2 ** (1 + exponent + mantissa)
        assert torch.allclose(on_float_grid(found, exponent, mantissa), found)
        assert torch.allclose(on_float_grid(4 * weight, exponent, mantissa), 4 * found)
    apart = [float((on_float_grid(weight, 2, m) - weight).abs().mean()) for m in (0, 1, 2, 3)]
    assert apart == sorted(apart, reverse=True)


def test_an_even_grid_holds_zero_and_both_ends():
    weight = torch.tensor([[-3.0, -0.4, 0.6, 2.9], [0.0, 0.0, 0.0, 0.0]])
    assert on_even_grid(weight, 3).tolist() == [[-3, 0, 1, 3], [0, 0, 0, 0]]
