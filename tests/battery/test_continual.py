"""What every way to bring back the old must do, third parties' included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scrimp.core.registry import Preset, presets

pytestmark = pytest.mark.parametrize("preset", presets("continual"), ids=lambda p: p.name)


@pytest.mark.parametrize(("new", "old"), [(100, 300), (100, 3), (1, 1)])
def test_every_new_row_comes_once_among_old_ones(preset: Preset, new: int, old: int) -> None:
    order = preset.build().order(new, old)
    assert order.dtype == np.int64
    assert sorted(order[order < new]) == list(range(new))
    assert order.max() < new + old
    assert order.min() >= 0


def test_the_same_seed_gives_the_same_order_and_another_one_another(preset: Preset) -> None:
    before, made = torch.get_rng_state(), preset.build()
    state = np.random.get_state()[1].copy()
    assert np.array_equal(made.order(50, 50, seed=1), made.order(50, 50, seed=1))
    assert not np.array_equal(made.order(50, 50, seed=1), made.order(50, 50, seed=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == state).all()
