"""What every adapter must do, third parties' included."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scrimp.checkpoints.exporting import check_export, load_export, logits_of, merge, save_merged
from scrimp.checkpoints.heads import PooledClassifier
from scrimp.checkpoints.loading import Dtype, Loaded, load, resolve
from scrimp.core import interrupts
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError, Stopped
from scrimp.core.registry import Preset, presets
from scrimp.examples.records import Layout
from scrimp.examples.templates import Encoded, Template
from scrimp.serving.language import Generator, PooledHead
from scrimp.tuning.adapters import compute_dtype, trainable, trainable_state
from scrimp.tuning.plan import TunePlan
from scrimp.tuning.validation import mean_loss

PROBES = [[5, 6, 7, 8, 9], [10, 11, 12]]
ROWS = [Encoded(ids=[10 + i % 2, *range(20, 25 + i), 100 + i % 2, 2], trained=[False] * (6 + i) + [True] * 2,
                target=i % 2, row=i) for i in range(8)]


class Home:
    """A tiny model that an adapter is tried on."""

    def __init__(self, kind: str, folder: Path, preset: Preset) -> None:
        self.kind, self.folder, self.preset = kind, folder, preset

    def start(self, dtype: Dtype = "float32") -> Loaded:
        loaded = load(resolve(self.folder), dtype=dtype)
        return loaded if self.kind == "causal" else loaded.with_model(PooledClassifier(loaded.model, ("no", "yes")))

    def plan(self, **options: object) -> TunePlan:
        objective = "sft" if self.kind == "causal" else "classify"
        return TunePlan.parse({"adapter": self.preset.name, "objective": objective, "learning_rate": 0.01, "steps": 6,
                               "batch_size": 4, "micro_tokens": 60, **options})

    def tuned(self, folder: Path, dtype: Dtype = "float32", **options: object) -> Loaded:
        loaded, plan = self.start(dtype), self.plan(**options)
        before = torch.get_rng_state()
        model = plan.attach(loaded.model)
        plan.train(model, ROWS, pad_id=loaded.pad_id, folder=folder, meter=Meter())
        assert torch.equal(torch.get_rng_state(), before)  # the process's own random state is left alone
        return loaded.with_model(model)


@pytest.fixture(params=["causal", "pooled"])
def home(request: pytest.FixtureRequest, preset: Preset, causal_folder: Path, encoder_folder: Path) -> Home:
    """Each kind of model; one that an adapter refuses, in words, is left for the other, which it then must take."""
    homes = {"causal": Home("causal", causal_folder, preset), "pooled": Home("pooled", encoder_folder, preset)}
    here = homes.pop(request.param)
    refused = refusal(lambda: here.plan().attach(here.start().model))
    assert refused is None or refused.fix
    return here if refused is None else next(iter(homes.values()))


def refusal(call: Callable[[], object]) -> ModelError | None:
    """What a call says that cannot be done."""
    try:
        call()
    except ModelError as error:
        return error
    return None


pytestmark = pytest.mark.parametrize("preset", presets("adapter"), ids=lambda p: p.name)


def test_what_moves_is_what_it_says(home: Home) -> None:
    plan, loaded = home.plan(), home.start()
    said = plan.adapter.cost(loaded.model).parameters
    measured = sum(p.numel() for p in trainable(plan.attach(loaded.model)).values())
    assert said == measured or (said is None and not type(plan.adapter).__module__.startswith("scrimp."))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_trains_what_moves_and_nothing_else(home: Home, dtype: Dtype, tmp_path: Path) -> None:
    loaded, plan = home.start(dtype), home.plan()
    model = plan.attach(loaded.model)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    start = mean_loss(model, ROWS, objective=plan.objective, pad_id=loaded.pad_id, micro_tokens=1000)
    plan.train(model, ROWS, pad_id=loaded.pad_id, folder=tmp_path, meter=Meter())
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == set(trainable(model))
    assert mean_loss(model, ROWS, objective=plan.objective, pad_id=loaded.pad_id, micro_tokens=1000) < start
    assert {value.dtype for value in trainable(model).values()} == {torch.float32}
    assert compute_dtype(model) == getattr(torch, dtype)


def test_the_same_seed_gives_the_same_bits(home: Home, tmp_path: Path) -> None:
    states = [trainable_state(home.tuned(tmp_path / name, seed=seed).model)
              for name, seed in (("one", 3), ("two", 3), ("three", 4))]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(home: Home, tmp_path: Path) -> None:
    unbroken = home.tuned(tmp_path / "unbroken")
    asked = iter([False] * 3 + [True])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(interrupts, "stop_requested", lambda: next(asked))
        home.tuned(tmp_path / "broken")
    continued = home.tuned(tmp_path / "broken")
    assert torch.equal(logits_of(continued.model, PROBES), logits_of(unbroken.model, PROBES))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_comes_back_from_disk_to_the_bit(home: Home, dtype: Dtype, tmp_path: Path) -> None:
    tuned = home.tuned(tmp_path / "run", dtype)
    predictor = Generator(tuned, Template(layout=Layout.PROMPT)) if home.kind == "causal" else PooledHead(
        tuned, Template(layout=Layout.LABEL, labels=("no", "yes"), style="pooled"))
    predictor.save(tmp_path / "saved")
    precision: Any = str(next(_body(tuned.model).parameters()).dtype).removeprefix("torch.")
    again = load_export(tmp_path / "saved", tuned.checkpoint, dtype=precision)
    assert torch.equal(logits_of(again.model, PROBES), logits_of(tuned.model, PROBES))


def test_merged_it_is_a_plain_model_that_says_the_same_or_it_says_why_not(home: Home, tmp_path: Path) -> None:
    tuned = home.tuned(tmp_path / "run")
    evaluated = logits_of(tuned.model, PROBES)
    if (refused := refusal(lambda: merge(tuned))) is not None:
        assert "cannot be merged" in refused.what
        assert refused.fix
        return
    plain = merge(tuned)
    assert torch.equal(logits_of(tuned.model, PROBES), evaluated)
    assert set(dict(_body(plain.model).named_parameters())) == set(dict(_body(home.start().model).named_parameters()))
    save_merged(plain, tmp_path / "merged")
    assert check_export(tuned, tmp_path / "merged", PROBES) < 1e-4


def test_a_copy_is_a_model_of_its_own(home: Home, tmp_path: Path) -> None:
    tuned = home.tuned(tmp_path)
    twin = copy.deepcopy(tuned.model)
    before = logits_of(tuned.model, PROBES)
    with torch.no_grad():
        for value in trainable(twin).values():
            value.add_(0.5)
    assert torch.equal(logits_of(tuned.model, PROBES), before)
    assert not torch.equal(logits_of(twin, PROBES), before)


def _body(model: nn.Module) -> nn.Module:
    return model.encoder if isinstance(model, PooledClassifier) else model
