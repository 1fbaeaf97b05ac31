"""What every merge must do, third parties' included."""

from __future__ import annotations

import pytest
import torch

from scrimp.core.errors import ModelError
from scrimp.core.registry import Preset, presets
from scrimp.surgery.merging import Weights

pytestmark = pytest.mark.parametrize("preset", presets("merging"), ids=lambda p: p.name)

SHAPES = {"embed.weight": (11, 8), "layer.0.weight": (8, 8), "layer.0.norm": (8,), "scalar": ()}


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=chance).to(dtype) for name, shape in SHAPES.items()}
    return {**drawn, "positions": torch.arange(5)}


def merged(preset: Preset, models: list[Weights], base: Weights, seed: int = 0) -> dict[str, torch.Tensor]:
    return dict(preset.build().apply(models, base=base, seed=seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_names_shapes_and_precision_are_those_of_the_first_model(preset: Preset, dtype: torch.dtype) -> None:
    first = state(1, dtype)
    found = merged(preset, [first, state(2)], state(0))
    assert list(found) == list(first)
    assert all(found[n].shape == first[n].shape and found[n].dtype == first[n].dtype for n in first)
    assert torch.equal(found["positions"], first["positions"])


def test_models_that_have_not_moved_merge_into_their_base(preset: Preset) -> None:
    base = state(0)
    for name, tensor in merged(preset, [state(0), state(0)], base).items():
        torch.testing.assert_close(tensor, base[name])


def test_the_same_seed_gives_the_same_bits_in_any_order_and_chance_is_left_alone(preset: Preset) -> None:
    models, base, before = [state(1), state(2)], state(0), torch.get_rng_state()
    first = merged(preset, models, base, seed=3)
    again = merged(preset, [dict(reversed(model.items())) for model in models], base, seed=3)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_merged_is_left_as_it_was(preset: Preset) -> None:
    models, base = [state(1), state(2)], state(0)
    merged(preset, models, base)
    for seed, kept in enumerate([base, *models]):
        assert all(torch.equal(kept[name], tensor) for name, tensor in state(seed).items())


def test_cost_is_the_parameters_of_the_result(preset: Preset) -> None:
    models = [state(1), state(2)]
    found = merged(preset, models, state(0))
    assert preset.build().cost(models).parameters == sum(tensor.numel() for tensor in found.values())


def test_models_of_other_names_or_shapes_are_refused(preset: Preset) -> None:
    base, other = state(0), state(1)
    other["layer.1.weight"] = torch.zeros(2)
    with pytest.raises(ModelError, match=r"layer\.1\.weight"):
        merged(preset, [state(1), other], base)
    with pytest.raises(ModelError, match="different shapes"):
        merged(preset, [state(1), {**state(2), "scalar": torch.zeros(2)}], base)
    with pytest.raises(ModelError, match="whole numbers"):
        merged(preset, [state(1), {**state(2), "positions": torch.zeros(5)}], base)
    with pytest.raises(ModelError, match="nothing to merge"):
        merged(preset, [], base)


def test_a_base_that_is_needed_is_asked_for(preset: Preset) -> None:
    if preset.build().needs_base:
        with pytest.raises(ModelError, match="base"):
            preset.build().apply([state(1), state(2)])
    else:
        assert dict(preset.build().apply([state(1), state(2)])).keys() == state(1).keys()


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    assert all(f"    {name}: " in preset.method.__doc__ for name in preset.method.model_fields)
