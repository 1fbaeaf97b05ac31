"""What every architecture must do, third parties' included."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_model

from scrimp.core.registry import Preset, presets

pytestmark = pytest.mark.parametrize("preset", presets("architecture"), ids=lambda p: p.name)


def test_the_same_seed_gives_the_same_weights_and_chance_is_left_alone(preset: Preset) -> None:
    before = torch.get_rng_state()
    first, again, other = (preset.build().build(seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert all(value.dtype == torch.float32 for value in first.values())


def test_cost_is_the_parameters(preset: Preset) -> None:
    model = preset.build().build()
    assert preset.build().cost().parameters == sum(p.numel() for p in model.parameters())


def test_it_comes_back_as_it_was_saved(preset: Preset, tmp_path) -> None:
    model, other = preset.build().build(seed=1), preset.build().build(seed=2)
    save_model(model, tmp_path / "m.safetensors")
    other.load_state_dict(load_file(tmp_path / "m.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    assert all(f"    {name}: " in preset.method.__doc__ for name in preset.method.model_fields)
