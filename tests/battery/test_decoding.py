"""What every way to decode with several models must do, third parties' included."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from scrimp.checkpoints.loading import Loaded, load, resolve
from scrimp.core.errors import ModelError
from scrimp.core.registry import Preset, presets
from scrimp.examples.templates import Encoded
from scrimp.serving.textlosses import token_losses
from scrimp.signals.decoding import generate

pytestmark = pytest.mark.parametrize("preset", presets("decoding"), ids=lambda p: p.name)


@pytest.fixture(scope="module")
def folders(causal_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Models over one vocabulary, of different widths."""
    root = tmp_path_factory.mktemp("family")
    return [causal_folder, *(tiny.causal(root / str(seed), seed=seed, hidden=32) for seed in (1, 2, 3, 4))]


def models(preset: Preset, folders: list[Path]) -> list[Loaded]:
    count = int(preset.build().cost().forward)
    return [outspoken(load(resolve(folder), dtype="float32")) for folder in folders[:count]]


def outspoken(loaded: Loaded) -> Loaded:
    """With layers so strong that the model does not only repeat its last token."""
    for name, parameter in loaded.model.named_parameters():
        parameter.data *= 20 if "_proj" in name else 1
    return loaded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_keep_their_shape_and_come_in_float32(preset: Preset, dtype: torch.dtype) -> None:
    given = [torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(i)).to(dtype)
             for i in range(int(preset.build().cost().forward))]
    before = [one.clone() for one in given]
    found = preset.build().combine(given)
    assert found.shape == (2, 3, 7) and found.dtype == torch.float32
    assert torch.equal(found, preset.build().combine(given))
    assert all(torch.equal(one, kept) for one, kept in zip(given, before, strict=True))


def test_cost_is_the_passes_that_are_made(preset: Preset, folders: list[Path]) -> None:
    loaded, passes = models(preset, folders), []
    for one in loaded:
        one.model.register_forward_hook(lambda *_: passes.append(1))
    preset.build().join(loaded).model(input_ids=torch.tensor([[5, 6, 7]]))
    assert len(passes) == preset.build().cost().forward


def test_it_scores_and_generates_as_any_model_does(preset: Preset, folders: list[Path]) -> None:
    joined = preset.build().join(models(preset, folders))
    ids = [5, 6, 7, 8]
    (loss, count), = token_losses(joined, [Encoded(ids=ids, trained=[True] * 4)])
    with torch.inference_mode():
        logits = preset.build().combine([one(input_ids=torch.tensor([ids])).logits for one in joined.model.models])[0]
    wanted = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum")
    assert (count, loss) == (3, pytest.approx(float(wanted), rel=1e-5))
    made = generate(joined, [ids, [9, 10]], max_new_tokens=6)
    assert len({*made[0], *made[1]}) > 2
    for prompt, found in zip([ids, [9, 10]], made, strict=True):
        row = list(prompt)
        for token in found:
            with torch.inference_mode():
                step = joined.model(input_ids=torch.tensor([row])).logits[0, -1]
            assert int(step.argmax()) == token
            row.append(token)


def test_tokenizers_that_differ_and_models_that_are_missing_are_refused(preset: Preset, folders: list[Path],
                                                                        encoder_folder: Path) -> None:
    loaded = models(preset, folders)
    with pytest.raises(ModelError, match="combines"):
        preset.build().join(loaded[:-1])
    with pytest.raises(ModelError, match="combines"):
        preset.build().combine([torch.zeros(3)])
    with pytest.raises(ModelError, match="tokenizers differ"):
        preset.build().join([*loaded[:-1], load(resolve(encoder_folder), dtype="float32")])
