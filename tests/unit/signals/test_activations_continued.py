"""A pass over activations that is ended anywhere goes on where it stopped, and ends with the same bits."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import Stopped
from scrimp.core.workspace import Workspace
from scrimp.examples.templates import Encoded
from scrimp.signals import Signals, passes
from scrimp.signals import activations as module

ENDED = 4  # batches before the pass is ended


@pytest.fixture
def model(causal_folder):
    return load(resolve(causal_folder), dtype="float32").model


def small(lengths):
    return passes.by_length(lengths, tokens=32)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "by_length", small)
    monkeypatch.setattr(module, "_KEEP_S", 0.0)
    monkeypatch.setattr(module, "_KEEP_SHARE", 0.0)


def rows():
    rng = np.random.default_rng(0)
    return [Encoded(rng.integers(3, 300, n).tolist(), [True] * n, row=i) for i, n in enumerate(rng.integers(3, 30, 20))]


def measured(model, folder, meter=None):
    return Signals(workspace=Workspace(folder), meter=meter).activations(model, rows(), gram=True)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b))
                   for a, b in zip(vars(one).values(), vars(expected[name]).values(), strict=True)), name


def ended(model, folder, monkeypatch, error):
    """The tokens that were read before an error in the batch after the fourth."""
    meter, whole, seen = Meter(), module.charge, []

    def charge(*given):
        whole(*given)
        seen.append(given)
        if len(seen) > ENDED:
            raise error

    with monkeypatch.context() as patched, pytest.raises(type(error)):
        patched.setattr(module, "charge", charge)
        measured(model, folder, meter)
    return meter.bill().tokens_forward - seen[-1][2]


def test_it_goes_on_and_ends_with_the_same_bits(model, tmp_path, monkeypatch):
    whole, rest = Meter(), Meter()
    expected = measured(model, tmp_path / "whole", whole)
    before = ended(model, tmp_path / "ended", monkeypatch, KeyboardInterrupt())
    assert_same(measured(model, tmp_path / "ended", rest), expected)
    assert before > 0 and rest.bill().tokens_forward == whole.bill().tokens_forward - before
    (folder,) = (tmp_path / "ended").glob("activations-*")
    assert sorted(path.name for path in folder.iterdir()) == ["signal.safetensors", "step.json"]


def test_sums_of_other_batches_are_not_gone_on_from(model, tmp_path, monkeypatch):
    ended(model, tmp_path, monkeypatch, KeyboardInterrupt())
    monkeypatch.setattr(module, "by_length", lambda lengths: small(lengths)[::-1])
    assert measured(model, tmp_path)["lm_head"].count == sum(len(row.ids) for row in rows())


def test_a_damaged_file_costs_what_was_summed(model, tmp_path, monkeypatch):
    ended(model, tmp_path / "ended", monkeypatch, KeyboardInterrupt())
    (path,) = (tmp_path / "ended").rglob("signal.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    assert_same(measured(model, tmp_path / "ended"), measured(model, tmp_path / "whole"))


def test_a_person_who_stops_keeps_the_sums(model, tmp_path, monkeypatch):
    expected, asked, rest = measured(model, tmp_path / "whole"), [], Meter()
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(module, "_KEEP_S", 1e9)
        patched.setattr("scrimp.core.interrupts.stop_requested", lambda: len(asked) > 6 or asked.append(0))
        measured(model, tmp_path / "stopped")
    assert_same(measured(model, tmp_path / "stopped", rest), expected)
    assert 0 < rest.bill().tokens_forward < sum(len(row.ids) for row in rows())


def test_sums_are_kept_as_often_as_that_is_cheap(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_KEEP_SHARE", 1e9)
    written, whole = [], module.atomic_write
    monkeypatch.setattr(module, "atomic_write", lambda *given: (written.append(given[0]), whole(*given)))
    measured(model, tmp_path)
    assert len(written) == 1


def test_a_killed_process_loses_what_it_summed_last(causal_folder, model, tmp_path):
    code = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
import test_activations_continued as tests
from scrimp.checkpoints.loading import load, resolve
tests.module._KEEP_S = tests.module._KEEP_SHARE = 0.0
tests.module.by_length = tests.small
whole, seen = tests.module.charge, []
def charge(*given):
    seen.append(given)
    if len(seen) > tests.ENDED:
        os.kill(os.getpid(), signal.SIGKILL)
tests.module.charge = charge
tests.measured(load(resolve(sys.argv[1]), dtype="float32").model, Path(sys.argv[2]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(causal_folder), str(tmp_path / "killed")],
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])},
                          timeout=120)
    assert done.returncode == -signal.SIGKILL
    rest, whole = Meter(), Meter()
    expected = measured(model, tmp_path / "whole", whole)
    assert_same(measured(model, tmp_path / "killed", rest), expected)
    assert 0 < rest.bill().tokens_forward < whole.bill().tokens_forward
