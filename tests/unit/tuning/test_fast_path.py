"""Training on the fast path: the same training, and the usual one wherever it would not be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scrimp.checkpoints.loading import load, resolve
from scrimp.compute.kernels import Kernels, native
from scrimp.core.budget import Meter
from scrimp.core.ledger import Ledger
from scrimp.examples.templates import Encoded
from scrimp.tuning.adapters import trainable_state
from scrimp.tuning.fastpath import fast_path
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.trainer import TrainResult

SHARED = [5 + n % 40 for n in range(30)]


def data(objective: str) -> list[Encoded]:
    """Rows of different lengths after one instruction; pairs for preference."""
    def row(n: int, last: int) -> Encoded:
        ids = [*SHARED, *((7 * n + k) % 50 + 4 for k in range(n % 9 + 2)), last, 9]
        return Encoded(ids, [False] * (len(ids) - 2) + [True] * 2, row=n)

    if objective == "sft":
        return [row(n, 10 + n % 3) for n in range(24)]
    return [replace(row(n, 10 + n % 3), second=row(n, 20)) for n in range(24)]


def trained(folder: Path, source: Path, *, objective: str = "sft", meter: Meter | None = None,
            **options: Any) -> tuple[TrainResult, dict[str, torch.Tensor]]:
    loaded = load(resolve(source))
    plan = TunePlan.parse({"adapter": "lora", "objective": objective, "steps": 12, "batch_size": 6,
                           "learning_rate": 3e-3, **options})
    model = plan.attach(loaded.model.float())
    model.compute_dtype = torch.float32
    result = plan.train(model, data(objective), pad_id=loaded.pad_id, folder=folder, meter=meter or Meter(),
                        ledger=Ledger(folder / "ledger.jsonl"))
    return result, trainable_state(model)


@pytest.mark.parametrize(("objective", "options"), [
    ("sft", {}), ("sft", {"micro_tokens": 64}), ("sft", {"weight_decay": 0.1, "clip": 0.1}),
    ("sft", {"adapter": "full"}), ("sft", {"base_bits": 4}), ("dpo", {"base_bits": 4}), ("dpo", {}),
    ("orpo", {"micro_tokens": 100})])
def test_both_paths_are_one_training(tmp_path: Path, causal_folder: Path, objective: str,
                                     options: dict[str, Any]) -> None:
    fast, ours = trained(tmp_path / "fast", causal_folder, objective=objective, **options)
    usual, theirs = trained(tmp_path / "usual", causal_folder, objective=objective, fast=False, **options)
    assert fast.computed.startswith("on the fast path") and usual.computed == "on the usual path: it was not wanted"
    assert [p.loss for p in fast.curve] == pytest.approx([p.loss for p in usual.curve], abs=2e-4)
    assert fast.tokens == usual.tokens
    moved = torch.cat([value.flatten() for value in ours.values()])
    wanted = torch.cat([value.flatten() for value in theirs.values()])
    assert float((moved - wanted).norm() / wanted.norm()) < 5e-3


def test_what_is_computed_is_billed_and_said(tmp_path: Path, causal_folder: Path) -> None:
    fast, usual = Meter(), Meter()
    trained(tmp_path / "fast", causal_folder, meter=fast)
    trained(tmp_path / "usual", causal_folder, meter=usual, fast=False)
    assert 0 < fast.bill().flops < usual.bill().flops / 2  # of six rows the instruction is computed once
    (started,) = Ledger(tmp_path / "fast" / "ledger.jsonl").read("train started")
    assert started["computed"].startswith("on the fast path, with ")


def test_a_body_is_compared_once_and_again_when_it_is_another(causal_folder: Path) -> None:
    loaded, some = load(resolve(causal_folder)), data("sft")
    plan, meter = TunePlan.parse({"adapter": "lora", "targets": ["q_proj"]}), Meter()
    model = plan.attach(loaded.model.float())
    billed = []
    for _ in range(2):
        with fast_path(model, some, pad_id=0, wanted=None, meter=meter) as reason:
            assert reason is None
        billed.append(meter.bill().tokens_forward)
    assert billed[0] == billed[1] == 2 * sum(min(len(row.ids), 144) for row in some[:3])
    model.compute_dtype = torch.bfloat16
    with fast_path(model, some, pad_id=0, wanted=None, meter=meter):
        assert meter.bill().tokens_forward == 2 * billed[0]
    network = model.get_base_model().model.layers[0].mlp
    network.up_proj = nn.Linear(network.up_proj.in_features, network.up_proj.out_features, bias=False)
    with fast_path(model, some, pad_id=0, wanted=None, meter=meter):
        assert meter.bill().tokens_forward == 3 * billed[0]


def test_dropout_is_said_to_keep_rows_apart(tmp_path: Path, causal_folder: Path) -> None:
    result, _ = trained(tmp_path, causal_folder, dropout=0.1)
    assert result.computed.endswith("nothing shared between rows because of dropout")


def test_a_fast_path_that_gives_other_states_is_not_taken(tmp_path: Path, causal_folder: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(self: Kernels, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(gate) * up

    for kernels in (Kernels, native.Native):
        monkeypatch.setattr(kernels, "gated", planted)
    result, ours = trained(tmp_path / "fast", causal_folder)
    assert "states are" in result.computed and result.computed.startswith("on the usual path")
    _, theirs = trained(tmp_path / "usual", causal_folder, fast=False)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
