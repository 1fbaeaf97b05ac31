"""What every selector must do, third parties' included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scrimp.checkpoints.loading import resolve
from scrimp.core.registry import Preset, presets
from scrimp.data.selection import Selection
from scrimp.examples.formats import read
from scrimp.examples.records import Examples
from scrimp.signals import Signals, store
from scrimp.tuning.plan import TunePlan

pytestmark = pytest.mark.parametrize("preset", presets("selection"), ids=lambda p: p.name)

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "what", "good", "film", "bad"]


def pool(count: int = 17) -> Examples:
    rng = np.random.default_rng(0)
    return read([{"text": " ".join(rng.choice(WORDS, 6)), "label": "ab"[i % 2]} for i in range(count)])


@pytest.fixture
def select(preset: Preset, encoder_folder, causal_folder):
    def ask(rows: Examples, keep: int, seed: int = 0, target: int = 4) -> Selection:
        signals = Signals(resolve(encoder_folder), model=resolve(causal_folder))
        return preset.build().select(rows, keep, signals=signals, target=pool(target), seed=seed)
    return ask


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went through a model, for each time that some did."""
    rows: list[int] = []
    made = store.run
    monkeypatch.setattr(store, "run", lambda work, asked, **options: (
        rows.append(len(asked)), made(work, asked, **options))[1])
    train = TunePlan.train
    monkeypatch.setattr(TunePlan, "train", lambda plan, model, asked, **options: (
        rows.append(plan.options.epochs * len(asked)), train(plan, model, asked, **options))[1])
    return rows


@pytest.mark.parametrize("keep", [0, 1, 5, 17])
def test_as_many_different_rows_are_kept_as_were_asked_for(preset: Preset, select, keep: int) -> None:
    found = select(pool(), keep).checked(pool(), keep, by=preset.name)
    assert found.scores is None or found.scores.shape == (17,)
    assert found.why


def test_the_same_seed_keeps_the_same_rows_and_chance_is_left_alone(preset: Preset, select) -> None:
    before, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again = select(pool(), 5, seed=3), select(pool(), 5, seed=3)
    assert first.indices.tolist() == again.indices.tolist()
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy)


def test_rows_that_are_all_alike_are_no_obstacle(preset: Preset, select) -> None:
    alike = pool(1).subset([0] * 9)
    select(alike, 4).checked(alike, 4, by=preset.name)


def test_cost_is_the_passes_over_the_pool(preset: Preset, select, passed: list[int]) -> None:
    counted = []
    for target in (4, 8):
        passed.clear()
        select(pool(), 5, target=target)
        counted.append(sum(passed))
    without_target = 2 * counted[0] - counted[1]
    assert without_target == pytest.approx(preset.build().cost().forward * 17, abs=1)


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    told = "".join(cls.__doc__ or "" for cls in preset.method.__mro__)
    assert all(f"    {name}: " in told for name in preset.method.model_fields)
