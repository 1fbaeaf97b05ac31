"""What every weighting must do, third parties' included."""

from __future__ import annotations

import pytest
import torch

from scrimp.core.registry import Preset, presets

pytestmark = pytest.mark.parametrize("preset", presets("weighting"), ids=lambda p: p.name)

LOSSES = torch.tensor([0.0, 0.3, 2.0, 2.1, 5.0, 90.0])
RECENT = {"spread": torch.linspace(0.1, 6.0, 64), "alike": torch.full((64,), 2.0)}


@pytest.mark.parametrize("recent", RECENT)
def test_weights_are_positive_numbers(preset: Preset, recent: str) -> None:
    found = preset.build().weights(LOSSES, RECENT[recent])
    assert found.shape == LOSSES.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert (found > 0).all()


@pytest.mark.parametrize("recent", RECENT)
def test_an_example_s_weight_does_not_depend_on_what_is_beside_it(preset: Preset, recent: str) -> None:
    """So that how a step is cut changes nothing."""
    weights = preset.build().weights
    apart = torch.cat([weights(LOSSES[i:i + 1], RECENT[recent]) for i in range(len(LOSSES))])
    torch.testing.assert_close(weights(LOSSES, RECENT[recent]), apart)


def test_losses_are_left_as_they_are(preset: Preset) -> None:
    losses, recent = LOSSES.clone(), RECENT["spread"].clone()
    preset.build().weights(losses, recent)
    assert torch.equal(losses, LOSSES)
    assert torch.equal(recent, RECENT["spread"])
