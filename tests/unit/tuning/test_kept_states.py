"""What is the same in every epoch is computed in one, and the training is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_fast_path import data, trained

from scrimp.checkpoints.loading import load, resolve
from scrimp.compute import lower
from scrimp.compute.decoder import Packed
from scrimp.compute.forest import Forest
from scrimp.core.budget import Meter
from scrimp.core.ledger import Ledger
from scrimp.tuning import trainer
from scrimp.tuning.objectives import SFT
from scrimp.tuning.objectives.preferences import DirectAlignment
from scrimp.tuning.pace import Pace
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.stream import Stream
from scrimp.tuning.validation import mean_loss

ONCE = ", the states below layer 1 computed once"
EPOCH = 4  # steps: 24 rows, six a step


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and nothing is kept any more."""
    return lambda: monkeypatch.setattr(trainer._Run, "keep_lower", lambda self: None)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often the attention of each layer of a Llama was computed."""
    from transformers.models.llama.modeling_llama import LlamaAttention

    found, call = Counter[int](), LlamaAttention.__call__

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        found[self.layer_idx] += 1
        return call(self, *args, **named)

    monkeypatch.setattr(LlamaAttention, "__call__", counted)
    return found


def losses(result: trainer.TrainResult) -> list[float]:
    return [point.loss for point in result.curve]


@pytest.mark.parametrize(("objective", "options"), [
    ("sft", {}), ("sft", {"micro_tokens": 64}), ("sft", {"dropout": 0.1}), ("dpo", {}), ("orpo", {})])
def test_it_is_the_same_training(tmp_path: Path, causal_folder: Path, without: Callable[[], None], objective: str,
                                 options: dict[str, Any]) -> None:
    given = {"objective": objective, "top_layers": 1, **options}
    kept, ours = trained(tmp_path / "kept", causal_folder, **given)
    without()
    plain, theirs = trained(tmp_path / "plain", causal_folder, **given)
    assert kept.computed.endswith(ONCE) and not plain.computed.endswith(ONCE)
    if "dropout" not in options:  # then rows are kept apart in training, and not below it
        assert losses(kept)[:EPOCH] == losses(plain)[:EPOCH]
    assert losses(kept) == pytest.approx(losses(plain), abs=1e-5)
    moved, wanted = (torch.cat([value.flatten() for value in state.values()]) for state in (ours, theirs))
    assert float((moved - wanted).norm() / wanted.norm()) < 1e-4


def test_it_is_the_same_training_in_half_precision(tmp_path: Path, causal_folder: Path,
                                                   without: Callable[[], None]) -> None:
    def run(name: str) -> trainer.TrainResult:
        loaded = load(resolve(causal_folder), dtype="bfloat16")
        plan = TunePlan.parse({"top_layers": 1, "steps": 12, "batch_size": 6, "learning_rate": 3e-3})
        return plan.train(plan.attach(loaded.model), data("sft"), pad_id=loaded.pad_id, folder=tmp_path / name,
                          meter=Meter())

    kept = run("kept")
    without()
    plain = run("plain")
    assert kept.computed.endswith(ONCE)
    assert losses(kept)[:EPOCH] == losses(plain)[:EPOCH]
    assert losses(kept) == pytest.approx(losses(plain), abs=2e-2)


def test_later_epochs_leave_the_lower_layers_alone(tmp_path: Path, causal_folder: Path, passes: Counter[int]) -> None:
    trained(tmp_path / "two", causal_folder, top_layers=1, steps=2 * EPOCH)
    two = Counter(passes)
    passes.clear()
    trained(tmp_path / "three", causal_folder, top_layers=1, steps=3 * EPOCH)
    assert passes[0] == two[0] and passes[1] == two[1] + EPOCH


@pytest.mark.parametrize(("options", "kept"), [
    ({"top_layers": 1, "steps": EPOCH}, False), ({"top_layers": 1, "steps": EPOCH + 1}, True), ({}, False),
    ({"adapter": "full"}, False), ({"top_layers": 1, "fast": False}, False)])
def test_it_is_done_where_it_pays(tmp_path: Path, causal_folder: Path, options: dict[str, Any], kept: bool) -> None:
    assert trained(tmp_path, causal_folder, **options)[0].computed.endswith(ONCE) == kept


def test_dropout_below_keeps_nothing(tmp_path: Path, causal_folder: Path) -> None:
    loaded = load(resolve(causal_folder))
    plan = TunePlan.parse({"top_layers": 1, "steps": 12, "batch_size": 6})
    model: Any = plan.attach(loaded.model.float())
    network = model.get_base_model().model.layers[0].mlp
    network.act_fn = torch.nn.Sequential(network.act_fn, torch.nn.Dropout(0.1))
    result = plan.train(model, data("sft"), pad_id=loaded.pad_id, folder=tmp_path, meter=Meter())
    assert result.computed.startswith("on the fast path") and not result.computed.endswith(ONCE)


def test_layers_that_are_not_passed_are_not_billed(tmp_path: Path, causal_folder: Path,
                                                   without: Callable[[], None]) -> None:
    kept, plain = Meter(), Meter()
    trained(tmp_path / "kept", causal_folder, top_layers=1, meter=kept)
    without()
    trained(tmp_path / "plain", causal_folder, top_layers=1, meter=plain)
    stream = Stream(data("sft"), batch_size=6, seed=0, pad_id=0)
    rows = {step: [np.asarray(data("sft")[i].ids) for i in stream.indices(step)] for step in range(12)}
    spared = sum(len(Forest.of(rows[step]).ids) for step in range(EPOCH, 12))
    layer = load(resolve(causal_folder)).model.model.layers[0]
    assert plain.bill().flops - kept.bill().flops == pytest.approx(2 * spared * sum(p.numel()
                                                                                    for p in layer.parameters()))
    assert kept.bill().tokens_backward == plain.bill().tokens_backward


def test_validation_is_on_its_own_bill_and_asks_for_nothing_kept(tmp_path: Path, causal_folder: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = data("sft"), []
    states = lower.Lower.states
    monkeypatch.setattr(lower.Lower, "states", lambda self, *given: asked.append(1) or states(self, *given))

    def run(name: str, *, validated: bool) -> float:
        loaded, meter = load(resolve(causal_folder)), Meter()
        plan = TunePlan.parse({"top_layers": 1, "steps": 8, "batch_size": 6, "validate_every": 2})
        model = plan.attach(loaded.model.float())
        validate = (lambda: mean_loss(model, rows, objective=plan.objective, pad_id=loaded.pad_id,
                                      micro_tokens=1024)) if validated else None
        plan.train(model, rows, pad_id=loaded.pad_id, folder=tmp_path / name, meter=meter, validate=validate)
        return meter.bill().flops

    unvalidated = run("without", validated=False)
    assert run("with", validated=True) == unvalidated and len(asked) == 8 + 8


def test_a_disk_that_runs_full_is_warned_of_and_costs_no_training(tmp_path: Path, causal_folder: Path,
                                                                  monkeypatch: pytest.MonkeyPatch,
                                                                  without: Callable[[], None]) -> None:
    with monkeypatch.context() as full:
        always_full = SimpleNamespace(TemporaryFile=lambda dir: Path("/dev/full").open("wb"))  # noqa: SIM115
        full.setattr(lower, "tempfile", always_full)
        broken, ours = trained(tmp_path / "full", causal_folder, top_layers=1)
    without()
    plain, theirs = trained(tmp_path / "plain", causal_folder, top_layers=1)
    assert "No space left" in broken.warnings[0] and not broken.computed.endswith(ONCE)
    assert losses(broken) == losses(plain) and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("at", [3, 6, 10])
@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_a_run_that_was_broken_ends_in_the_same_weights(tmp_path: Path, causal_folder: Path, objective: str, at: int,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    _, unbroken = trained(tmp_path / "unbroken", causal_folder, objective=objective, top_layers=1)
    kind = SFT if objective == "sft" else DirectAlignment
    calls, loss, measured, measure = [], kind.loss, [], DirectAlignment._measured

    def deadly(self: Any, *given: Any) -> Any:
        calls.extend([1] * torch.is_grad_enabled())  # guards ask for losses too
        if len(calls) == at:
            raise KeyboardInterrupt
        return loss(self, *given)

    monkeypatch.setattr(kind, "loss", deadly)
    monkeypatch.setattr(DirectAlignment, "_measured", lambda self, *given: measured.append(1) or measure(self, *given))
    given = {"objective": objective, "top_layers": 1, "checkpoint_every_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", causal_folder, **given)
    result, continued = trained(tmp_path / "broken", causal_folder, **given)
    assert result.computed.endswith(ONCE)
    assert len(Ledger(tmp_path / "broken" / "ledger.jsonl").read("train continued")) == 1
    assert all(torch.equal(continued[name], unbroken[name]) for name in unbroken)
    assert len(measured) == (objective == "dpo")  # the reference, in the first attempt alone


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_reference_that_is_not_of_this_run_is_measured_anew(tmp_path: Path, causal_folder: Path, damage: str) -> None:
    trained(tmp_path, causal_folder, objective="dpo", steps=2)
    file = tmp_path / "references.json"
    whole = file.read_text()
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(whole[:-9] if damage == "cut" else whole.replace('"identity": "', '"identity": "0'))
    meter = Meter()
    trained(tmp_path, causal_folder, objective="dpo", steps=2, meter=meter)
    assert file.read_text() == whole and meter.bill().tokens_forward > 0 == meter.bill().tokens_backward


def test_steps_after_the_first_epoch_are_foreseen_as_fast_as_they_will_be() -> None:
    pace = Pace()
    for _ in range(10):
        pace.record(3.0, once=2.0)
    given = {"validate_every": 1, "save_every_s": 30.0}
    assert pace.next_s() == 3.0
    assert pace.fitting(63.0, **given) == 60  # nothing is left to do once: a second a step, and a margin
    assert pace.fitting(63.0, once_s=20.0, **given) == 40
    assert pace.fitting(64.0, once_s=60.0, **given) == 20  # the time ends in the first epoch


def test_the_path_is_left_without_a_file(tmp_path: Path, causal_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Packed] = []
    keep = trainer._Run.keep_lower
    monkeypatch.setattr(trainer._Run, "keep_lower", lambda self: keep(self) or paths.append(self.path))
    trained(tmp_path, causal_folder, top_layers=1)
    assert paths[0].lower is not None and not paths[0].lower.is_kept
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "ledger.jsonl"]
