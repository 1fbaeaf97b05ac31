"""What every way to grow a decoder must do, third parties' included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from scrimp.core.errors import ModelError
from scrimp.core.registry import Preset, presets

pytestmark = pytest.mark.parametrize("preset", presets("growth"), ids=lambda p: p.name)


@pytest.fixture
def model(causal_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(causal_folder).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_larger_model_is_larger_learns_and_survives_the_disk(preset: Preset, model: Any, dtype: torch.dtype,
                                                                 tmp_path: Path) -> None:
    larger = preset.build().grow(model.to(dtype))
    ids = torch.tensor([[5, 6, 7, 8]])
    assert larger.num_parameters() > model.num_parameters()
    assert larger.dtype == dtype and not larger.training
    larger(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in larger.parameters())
    larger.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert torch.equal(larger(input_ids=ids).logits, again(input_ids=ids).logits)


def test_cost_is_the_parameters_of_the_larger_model(preset: Preset, model: Any) -> None:
    cost = preset.build().cost(model.config.to_dict())
    assert cost.parameters == sum(p.numel() for p in preset.build().grow(model).parameters())


def test_the_same_seed_gives_the_same_bits_and_chance_is_left_alone(preset: Preset, model: Any) -> None:
    weights, config = model.state_dict(), model.config.to_dict()
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    before = torch.get_rng_state()
    (first, told), (again, told_again) = (preset.build().apply(weights, config, seed=3) for _ in range(2))
    assert told == told_again and first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(weights[name], tensor) for name, tensor in kept.items())
    assert config == model.config.to_dict()


def test_growing_not_at_all_keeps_the_model(preset: Preset, model: Any) -> None:
    same = preset.build({"factor": 1}).grow(model)
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(same(input_ids=ids).logits, model(input_ids=ids).logits)


def test_what_is_no_decoder_is_refused(preset: Preset, model: Any) -> None:
    config = model.config.to_dict()
    with pytest.raises(ModelError):
        preset.build().apply({"conv.weight": torch.zeros(3, 3)}, config)
    with pytest.raises(ModelError):
        preset.build().apply({name.replace("_proj", "_map"): t for name, t in model.state_dict().items()}, config)
