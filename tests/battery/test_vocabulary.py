"""What every way to make a new vocabulary's embeddings must do, third parties' included."""

from __future__ import annotations

import pytest
import torch

from scrimp.core.errors import ModelError
from scrimp.core.registry import Preset, presets

pytestmark = pytest.mark.parametrize("preset", presets("vocabulary"), ids=lambda p: p.name)

SOURCE = {"<end>": 0, **{f"old{i}": i for i in range(1, 30)}}
TARGET = {"<end>": 3, **{f"new{i}": i for i in range(20) if i != 3}, "far": 25}
CHANCE = torch.Generator().manual_seed(0)
VECTORS = tuple({token: torch.randn(6, generator=CHANCE) for token in side} for side in (SOURCE, TARGET))
EMBEDDINGS = torch.randn(32, 8, generator=CHANCE) * 0.3 + 0.1


def made(preset: Preset, dtype: torch.dtype = torch.float32, seed: int = 0, **options: object) -> torch.Tensor:
    return preset.build(options).apply(EMBEDDINGS.to(dtype), SOURCE, TARGET, vectors=VECTORS, seed=seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_there_is_a_finite_row_for_each_id_in_the_precision_given(preset: Preset, dtype: torch.dtype) -> None:
    found = made(preset, dtype)
    assert found.shape == (26, 8) and found.dtype == dtype
    assert bool(found.isfinite().all())


def test_rows_are_about_as_large_as_those_of_a_model(preset: Preset) -> None:
    assert float(made(preset).norm(dim=1).mean()) < 2 * float(EMBEDDINGS.norm(dim=1).mean())


def test_cost_is_the_parameters_of_the_result(preset: Preset) -> None:
    assert preset.build().cost(EMBEDDINGS, TARGET).parameters == made(preset).numel()


def test_the_same_seed_gives_the_same_bits_and_chance_and_inputs_are_left_alone(preset: Preset) -> None:
    before, kept = torch.get_rng_state(), EMBEDDINGS.clone()
    assert torch.equal(made(preset, seed=5), made(preset, seed=5))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(EMBEDDINGS, kept)


def test_shared_tokens_keep_their_embeddings(preset: Preset) -> None:
    assert torch.equal(made(preset, shared=("<end>",))[3], EMBEDDINGS[0])
    assert torch.equal(made(preset, shared=("<end>",))[4:], made(preset)[4:])
    with pytest.raises(ModelError, match="not in both"):
        made(preset, shared=("old1",))


def test_ids_without_a_row_and_empty_vocabularies_are_refused(preset: Preset) -> None:
    with pytest.raises(ModelError, match="no row"):
        preset.build().apply(EMBEDDINGS, {**SOURCE, "beyond": 32}, TARGET, vectors=VECTORS)
    with pytest.raises(ModelError, match="empty"):
        preset.build().apply(EMBEDDINGS, SOURCE, {}, vectors=VECTORS)


def test_vectors_that_are_needed_are_asked_for(preset: Preset) -> None:
    if "vectors" in preset.method.needs:
        with pytest.raises(ModelError, match="static vectors"):
            preset.build().apply(EMBEDDINGS, SOURCE, TARGET)
    else:
        assert torch.equal(preset.build().apply(EMBEDDINGS, SOURCE, TARGET), made(preset))
