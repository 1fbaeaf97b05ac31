"""Whatever interrupts a run, the same call ends in the weights of an unbroken one."""

import os
import signal
import subprocess
import sys

import killable
import pytest
import torch
from safetensors.torch import load_file

from scrimp.core.errors import WorkspaceError
from scrimp.core.ledger import Ledger
from scrimp.tuning.adapters import trainable_state
from scrimp.tuning.snapshots import Snapshot, Snapshots, optimizer_state


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize(("dropout", "top_layers"), [(0.1, 2), (0.0, 1)])  # with one, states below it are kept
def test_sigkill_in_a_step_and_while_saving(causal_folder, tmp_path, dropout, top_layers):
    unbroken = killable.run(causal_folder, tmp_path / "unbroken", dropout=dropout, top_layers=top_layers)
    ends = {}
    for where in ("loss:8", "save:5", "loss:4", "never"):
        command = [sys.executable, killable.__file__, causal_folder, tmp_path / "killed", tmp_path / "out", where,
                   str(dropout), str(top_layers)]
        ends[where] = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode
    assert ends == {"loss:8": -signal.SIGKILL, "save:5": -signal.SIGKILL, "loss:4": -signal.SIGKILL, "never": 0}
    assert same(load_file(tmp_path / "out"), unbroken)
    left = sorted(p.name for p in (tmp_path / "killed" / "checkpoint").iterdir())
    assert len(left) == 2
    assert all(name.isdecimal() for name in left)


def test_ctrl_c_saves_and_the_same_call_goes_on(lora, data, stopped_and_continued, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    unbroken, continued, result = stopped_and_continued(lambda: lora(dropout=0.1), data, ledger=ledger)
    assert same(trainable_state(continued), trainable_state(unbroken))
    assert [e["step"] for e in ledger.read("train continued")] == [4]
    assert (result.steps, result.stopped_by, len(result.curve)) == (6, "plan", 6)


def test_a_finished_run_is_not_run_again(lora, data, fit):
    first, second = lora(), lora()
    one = fit(first, data)
    other = fit(second, data)
    assert same(trainable_state(first), trainable_state(second))
    assert one.curve == other.curve


def test_another_run_s_folder_is_refused(lora, data, fit):
    fit(lora(), data)
    with pytest.raises(WorkspaceError, match="other data, options or weights"):
        fit(lora(), data, seed=1)
    with pytest.raises(WorkspaceError, match="other data, options or weights"):
        fit(lora(), data[:-1])
    with pytest.raises(WorkspaceError, match="other data, options or weights"):
        fit(lora(rank=4), data)


@pytest.mark.parametrize("file", ["facts.json", "tensors.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, file, damage):
    snapshots = Snapshots(tmp_path, "me")
    for value in (1.0, 2.0):
        snapshots.save(Snapshot({"x": torch.tensor([value])}, {"value": value}))
    path = tmp_path / "000002" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-3] if damage == "cut" else content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    found = snapshots.latest()
    assert found.facts == {"value": 1.0}
    assert found.tensors["x"].item() == 1.0
    assert snapshots.damaged == ["000002"]


@pytest.mark.parametrize("facts", ["1.5", "[]", "{}", "[" * 100_000])
def test_facts_that_are_none_are_damaged_too(tmp_path, facts):
    snapshots = Snapshots(tmp_path, "me")
    snapshots.save(Snapshot({"x": torch.tensor([1.0])}, {"value": 1.0}))
    (tmp_path / "000001" / "facts.json").write_text(facts)
    assert snapshots.latest() is None
    assert snapshots.damaged == ["000001"]


def test_with_all_checkpoints_damaged_the_run_starts_again_and_says_so(lora, data, fit, tmp_path):
    first, second = lora(), lora()
    fit(first, data)
    for path in (tmp_path / "run" / "checkpoint").glob("*/facts.json"):
        path.write_text("{}")
    result = fit(second, data)
    assert same(trainable_state(first), trainable_state(second))
    assert "started again" in result.warnings[0]


def test_two_checkpoints_are_kept(tmp_path):
    snapshots = Snapshots(tmp_path, "me")
    for value in range(5):
        snapshots.save(Snapshot({"x": torch.tensor(value)}, {}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000004", "000005"]


def test_an_optimizer_whose_state_is_no_data_is_refused():
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    optimizer.state[parameter]["hook"] = print
    with pytest.raises(WorkspaceError, match="cannot be saved"):
        optimizer_state(optimizer)


def test_the_process_s_random_state_is_left_alone(lora, data, fit):
    model = lora(dropout=0.1)
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    fit(model, data)
    assert torch.equal(torch.rand(3), wanted)
    assert not torch.are_deterministic_algorithms_enabled()
