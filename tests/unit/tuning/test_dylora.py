"""LoRAs that can be cut."""

import copy

import pytest
import torch

from scrimp.checkpoints.exporting import check_export, save_adapter
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import OptionError
from scrimp.core.registry import build
from scrimp.tuning.adapters import cut, trainable

IDS = torch.arange(5, 17).reshape(2, 6)


@pytest.fixture
def dylora(causal):
    model = build("adapter", "dylora", {"rank": 4}).attach(causal)
    for name, value in trainable(model).items():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(1))
    return model


def test_a_step_trains_what_a_cut_gives(dylora):
    """The training pass at the drawn rank is the evaluation pass of the model cut to it."""
    dylora.train()
    seen = set()
    for step in range(12):
        dylora.rank_draw.enter_step(step)
        seen.add(dylora.rank_draw.now)
        small = copy.deepcopy(dylora)
        cut(small, dylora.rank_draw.now, rescale=True)
        torch.testing.assert_close(dylora(IDS).logits, small.eval()(IDS).logits, atol=1e-5, rtol=1e-5)
    assert seen == {1, 2, 3, 4}


def test_in_evaluation_all_of_it_is_used(dylora):
    dylora.rank_draw.enter_step(0)
    whole = dylora.eval()(IDS).logits
    plain = copy.deepcopy(dylora)
    cut(plain, 4, rescale=True)
    assert torch.equal(plain(IDS).logits, whole)


def test_ranks_are_drawn_by_seed_and_step(causal_folder):
    def drawn(seed):
        model = load(resolve(causal_folder), dtype="float32").model
        draw = build("adapter", "dylora").attach(model, seed=seed).rank_draw
        return [draw.enter_step(step) or draw.now for step in range(8)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_plain_lora_s_columns_keep_their_weight_when_cut(lora):
    model = lora(rank=4).eval()
    for layer in model.modules():
        if hasattr(layer, "lora_B"):
            torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    small = copy.deepcopy(model)
    cut(small, 3, rescale=False)
    with torch.no_grad():
        for layer in model.modules():
            if hasattr(layer, "lora_B"):
                layer.lora_B["default"].weight[:, 3:] = 0
    torch.testing.assert_close(small(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("rescale", [True, False])
def test_what_was_cut_is_saved_as_a_lora_of_that_rank(dylora, causal_folder, tmp_path, rescale):
    cut(dylora, 2, rescale=rescale)
    loaded = load(resolve(causal_folder), dtype="float32").with_model(dylora.eval())
    save_adapter(loaded, tmp_path)
    assert check_export(loaded, tmp_path, [[5, 6, 7]]) == 0.0


@pytest.mark.parametrize("rank", [0, 5])
def test_a_cut_to_no_rank_or_a_larger_one(dylora, rank):
    with pytest.raises(OptionError, match="cannot be cut"):
        cut(dylora, rank, rescale=True)


@pytest.mark.parametrize("other", ["decomposed", "rank_stabilised"])
def test_what_every_rank_does_not_go_with(other):
    with pytest.raises(OptionError, match="every_rank"):
        build("adapter", "dylora", {other: True})
