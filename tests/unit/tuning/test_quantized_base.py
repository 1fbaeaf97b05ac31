"""Training over a base in four bits: the same training as over the unpacked weights, and less held."""

from __future__ import annotations

import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from unit.tuning.conftest import examples

from scrimp.checkpoints.quantized import NF4Linear
from scrimp.compute.decoder import packed
from scrimp.core.budget import Meter
from scrimp.core.registry import build
from scrimp.examples.batching import collate
from scrimp.tuning.adapters import trainable, trainable_state
from scrimp.tuning.objectives import TorchBatch
from scrimp.tuning.objectives.tokens import decoder_and_head, states_at
from scrimp.tuning.work import Work


def unpacked(model: nn.Module) -> nn.Module:
    """Plain layers with the weights that the packed ones unpack to, in place."""
    for name, layer in [*model.named_modules()]:
        if isinstance(layer, NF4Linear):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=False).requires_grad_(False)
            plain.weight.data = layer.weight.clone()
            model.set_submodule(name, plain)
    return model


def moved_a_little(model: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    for name, value in trainable(model).items():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.05)
    return model


def gradients(model: nn.Module, *, fast: bool) -> torch.Tensor:
    batch = TorchBatch.of(collate(examples(6), pad_id=0), torch.device("cpu"))
    with packed(decoder_and_head(model)[0]) if fast else nullcontext() as reason:
        assert reason is None
        build("objective", "sft").loss(model, batch).total.backward()
    return torch.cat([parameter.grad.flatten() for parameter in trainable(model).values()])


@pytest.mark.parametrize("fast", [True, False])
def test_gradients_are_those_over_the_unpacked_weights(lora, fast: bool) -> None:
    ours = gradients(moved_a_little(lora(base_bits=4)), fast=fast)
    wanted = gradients(unpacked(moved_a_little(lora(base_bits=4))), fast=False)
    other = gradients(moved_a_little(lora()), fast=False)
    assert float((ours - wanted).norm() / wanted.norm()) < 5e-5
    assert float((other - wanted).norm() / wanted.norm()) > 1e-3  # it is another base


def test_the_fast_path_takes_every_packed_layer(lora, data, fit, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lora(base_bits=4)
    calls: list[int] = []
    usual = NF4Linear.forward
    monkeypatch.setattr(NF4Linear, "forward", lambda self, x: calls.append(1) or usual(self, x))
    assert fit(model, data, steps=2).computed.startswith("on the fast path")
    # once each, for the states that the fast path's are compared with: in no step
    assert len(calls) == sum(isinstance(module, NF4Linear) for module in model.modules())


def test_nothing_unpacked_is_kept_for_the_backward_pass(lora, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = moved_a_little(lora(base_bits=4)), []
    unpack = NF4Linear.weight.fget

    def watched(self: NF4Linear) -> torch.Tensor:
        weight = unpack(self)
        seen.append(weakref.ref(weight))
        return weight

    monkeypatch.setattr(NF4Linear, "weight", property(watched))
    batch = TorchBatch.of(collate(examples(6), pad_id=0), torch.device("cpu"))
    rows, positions = batch.attention_mask.nonzero(as_tuple=True)
    body, _ = decoder_and_head(model)
    with packed(body):
        kept = states_at(body, batch, rows, positions)
        assert len(seen) == 14 and all(one() is None for one in seen)
        kept.sum().backward()
    assert len(seen) > 14


def test_a_broken_run_goes_on_to_the_same_bits(lora, data, stopped_and_continued) -> None:
    unbroken, continued, _ = stopped_and_continued(lambda: lora(base_bits=4, dropout=0.1), data)
    one, other = trainable_state(continued), trainable_state(unbroken)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_work_is_that_of_the_whole_weights(lora, data, fit, tmp_path) -> None:
    assert Work.of(lora(base_bits=4)) == Work.of(lora())
    meters = [Meter(), Meter()]
    for bits, meter in zip((4, 16), meters, strict=True):
        fit(lora(base_bits=bits), data, meter=meter, steps=2, folder=tmp_path / str(bits))
    assert meters[0].bill().flops == meters[1].bill().flops
