"""What every condenser must do, third parties' included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scrimp.core.errors import DataError
from scrimp.core.registry import Preset, presets
from scrimp.data.condensation import Condensed

pytestmark = pytest.mark.parametrize("preset", presets("condensation"), ids=lambda p: p.name)


def data(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(count) % 3)
    return (np.eye(3, dtype=np.float32)[labels][:, None] + rng.normal(0, 0.3, (count, 2, 3))).astype(np.float32), labels


def made(preset: Preset, per_class: int = 2, seed: int = 0) -> Condensed:
    return preset.build().condense(*data(), per_class, seed=seed)


@pytest.mark.parametrize("per_class", [1, 4])
def test_examples_have_the_shape_of_real_ones_and_shares_of_classes(preset: Preset, per_class: int) -> None:
    found = made(preset, per_class)
    assert (found.inputs.shape, found.inputs.dtype) == ((3 * per_class, 2, 3), np.float32)
    assert (found.targets.shape, found.targets.dtype) == ((3 * per_class, 3), np.float32)
    assert np.isfinite(found.inputs).all()
    assert (found.targets >= 0).all()
    np.testing.assert_allclose(found.targets.sum(1), 1, rtol=1e-5)
    assert np.bincount(found.targets.argmax(1), minlength=3).min() >= 1


def test_the_same_seed_makes_the_same_bits_and_leaves_the_data_and_chance_alone(preset: Preset) -> None:
    (x, y), before = data(), torch.get_rng_state()
    first = preset.build().condense(x, y, 2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(x, data()[0])
    again, other = made(preset, seed=3), made(preset, seed=4)
    assert np.array_equal(first.inputs, again.inputs)
    assert np.array_equal(first.targets, again.targets)
    assert not np.array_equal(first.inputs, other.inputs)


def test_cost_is_the_passes_over_real_examples_with_their_classes(preset: Preset, monkeypatch) -> None:
    rows, real = [], F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda logits, targets, **more: (
        rows.append(len(targets) if targets.dtype == torch.int64 else 0), real(logits, targets, **more))[1])
    made(preset)
    cost = preset.build().cost()
    assert cost.forward == cost.backward == sum(rows) / 60


def test_classes_that_are_too_small_are_told(preset: Preset) -> None:
    x, y = data()
    with pytest.raises(DataError, match="class 0 has 20 rows, 21 were asked for"):
        preset.build().condense(x, y, 21)
    with pytest.raises(DataError, match="nothing to learn from"):
        preset.build().condense(x[:0], y[:0], 1)


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    assert all(f"    {name}: " in preset.method.__doc__ for name in preset.method.model_fields)
