"""What every compression must do, third parties' included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scrimp.core.errors import DataError, ModelError
from scrimp.core.registry import Preset, presets
from scrimp.examples.templates import Encoded
from scrimp.surgery.compression.layerwise import blocks_of, linear_layers

pytestmark = pytest.mark.parametrize("preset", presets("compression"), ids=lambda p: p.name)


def model(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2, max_position_embeddings=64, tie_word_embeddings=True)
    return LlamaForCausalLM(config).to(dtype)


def rows(count: int = 5) -> list[Encoded]:
    rng = np.random.default_rng(0)
    return [Encoded(rng.integers(0, 60, n).tolist(), [True] * n) for n in range(4, 4 + count)]


def logits(tried: LlamaForCausalLM) -> torch.Tensor:
    with torch.inference_mode():
        return tried(input_ids=torch.arange(20)[None]).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_linear_layers_of_the_blocks_change_and_nothing_else(preset: Preset, dtype: torch.dtype) -> None:
    before, tried = model(dtype), model(dtype)
    assert preset.build().apply(tried, rows()) is tried
    names = {f"{name}.weight" for name in linear_layers(tried)}
    for name, value in tried.named_parameters():
        assert value.dtype == dtype
        assert value.isfinite().all()
        assert torch.equal(value, before.get_parameter(name)) == (name not in names)
    assert logits(tried).isfinite().all()
    assert not any(module._forward_pre_hooks for module in tried.modules())


def test_the_same_model_gives_the_same_bits_and_chance_is_left_alone(preset: Preset) -> None:
    first, second = model(), model()
    before = torch.get_rng_state()
    preset.build().apply(first, rows())
    assert torch.equal(torch.get_rng_state(), before)
    preset.build().apply(second, rows())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_compressed_model_comes_back_as_it_was_saved(preset: Preset, tmp_path) -> None:
    tried = preset.build().apply(model(), rows())
    tried.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(LlamaForCausalLM.from_pretrained(tmp_path)), logits(tried), rtol=0, atol=0)


def test_cost_is_the_passes_through_the_blocks(preset: Preset) -> None:
    tried, seen = model(), []
    for block in blocks_of(tried)[1]:
        block.register_forward_pre_hook(lambda _, args, named: seen.append(
            len(args[0] if args else named["hidden_states"])), with_kwargs=True)
    calibration = rows()
    preset.build().apply(tried, calibration)
    measured = sum(seen) / len(blocks_of(tried)[1]) / len(calibration)
    assert preset.build().cost(tried, len(calibration)).forward == pytest.approx(measured)


def test_what_cannot_be_compressed_is_told(preset: Preset) -> None:
    with pytest.raises(DataError, match="nothing to calibrate on"):
        preset.build().apply(model(), [])
    with pytest.raises(ModelError, match="no blocks"):
        preset.build().apply(torch.nn.Linear(2, 2), rows())


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    assert all(f"    {name}: " in preset.method.__doc__ for name in preset.method.model_fields)
