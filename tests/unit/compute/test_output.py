"""Losses of tokens: those of cross-entropy over all logits at once, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scrimp.compute import output
from scrimp.compute.output import summed_loss, token_losses


def case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    torch.manual_seed(0)
    head = nn.Linear(32, 301, bias=False).to(dtype).requires_grad_(False)
    return torch.randn(23, 32).to(dtype).requires_grad_(), torch.randint(301, (23,)), head


@pytest.mark.parametrize("chunk", [1, 10, 23, 256])
def test_losses_and_gradients_are_those_of_all_logits_at_once(chunk: int) -> None:
    states, targets, head = case()
    weights = torch.linspace(-1, 2, 23)
    usual = F.cross_entropy(head(states), targets, reduction="none")
    ours = token_losses(states, targets, head, chunk=chunk)
    wanted, found = (torch.autograd.grad((losses * weights).sum(), states)[0] for losses in (usual, ours))
    assert torch.allclose(ours, usual, atol=1e-5) and torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("change", [lambda head: head.requires_grad_(True),
                                    lambda head: head.register_forward_hook(lambda _, __, logits: 2 * logits)])
def test_other_output_layers_are_asked_themselves(change) -> None:
    states, targets, head = case()
    change(head)
    usual = F.cross_entropy(head(states), targets, reduction="none")
    ours = token_losses(states, targets, head, chunk=10)
    assert torch.allclose(ours, usual, atol=1e-5)
    moving = [states, *(p for p in head.parameters() if p.requires_grad)]
    for found, wanted in zip(torch.autograd.grad(ours.sum(), moving), torch.autograd.grad(usual.sum(), moving),
                             strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("chunk", [1, 10, 256])
def test_the_sum_has_the_gradients_of_the_sum(moves: bool, chunk: int) -> None:
    states, targets, head = case()
    head.requires_grad_(moves)
    moving = [states, head.weight] if moves else [states]
    usual, ours = F.cross_entropy(head(states), targets, reduction="sum"), summed_loss(states, targets, head,
                                                                                       chunk=chunk)
    assert torch.allclose(ours, usual, rtol=1e-6)
    for found, wanted in zip(torch.autograd.grad(3 * ours, moving), torch.autograd.grad(3 * usual, moving),
                             strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


def test_a_sum_under_autocast_is_computed_in_its_precision_and_moves_the_master() -> None:
    states, targets, head = case()
    head.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        ours = summed_loss(states.bfloat16(), targets, head, chunk=10)
        usual = F.cross_entropy(head(states.bfloat16()).float(), targets, reduction="sum")
    found, wanted = (torch.autograd.grad(loss, head.weight)[0] for loss in (ours, usual))
    assert found.dtype == torch.float32 and abs(float((ours - usual).detach())) < 0.02
    assert float((found - wanted).norm() / wanted.norm()) < 0.01


def test_the_sum_over_an_answer_is_that_of_float32_where_precision_is_asked_for() -> None:
    torch.manual_seed(0)
    head = nn.Linear(576, 4000, bias=False).bfloat16().requires_grad_(False)
    states, targets = (torch.randn(200, 576) * 8).bfloat16(), torch.randint(4000, (200,))
    true = F.cross_entropy(states.float() @ head.weight.float().t(), targets, reduction="none")
    rough, precise = (token_losses(states, targets, head, chunk=64, precise=asked) for asked in (False, True))
    assert float((precise - true).abs().max()) < 1e-4 < float((rough - true).abs().max())
    assert abs(float(precise.sum() - true.sum())) < 0.01


def test_a_large_output_layer_is_widened_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    states, targets, head = case(torch.bfloat16)
    whole = token_losses(states, targets, head, chunk=8, precise=True)
    monkeypatch.setattr(output, "_WIDE", 100 * 32)
    pieces = token_losses(states, targets, head, chunk=8, precise=True)
    assert torch.allclose(whole, pieces, atol=1e-6)
    for one, other in zip(*(torch.autograd.grad(losses.sum(), states) for losses in (whole, pieces)), strict=True):
        assert torch.allclose(one, other, atol=1e-2, rtol=1e-2)


def test_nothing_trained_gives_no_losses() -> None:
    states, targets, head = case()
    for layer in (head, nn.Linear(32, 301)):
        assert token_losses(states[:0], targets[:0], layer, chunk=8).shape == (0,)


def test_without_gradients_none_are_made() -> None:
    states, targets, head = case()
    with torch.inference_mode():
        assert not token_losses(states, targets, head, chunk=8).requires_grad
