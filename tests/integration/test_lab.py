"""The lab on real data: what it draws is drawn by its seed, and what it makes is kept."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from scrimp.core.errors import OptionError
from scrimp.evidence import Lab

pytestmark = pytest.mark.integration


def test_sums_are_right_and_so_is_what_is_told_on_the_way() -> None:
    for row in Lab(3).sums(200, terms=3, digits=2):
        numbers = [int(text) for text in re.findall(r"\d+", row["prompt"])]
        assert int(row["completion"]) == sum(numbers)
        for step in row["rationale"].split(";"):
            left, right = step.split("=")
            assert sum(map(int, left.split("+"))) == int(right)
        assert int(row["rationale"].split("=")[-1]) == sum(numbers) // 10 or sum(numbers) < 10


def test_blocks_are_whole_and_drawn_by_the_seed() -> None:
    texts = Lab(0).texts("sci.med", "test")[:60]
    first, again, other = (Lab(seed).blocks(texts, length=64, count=10) for seed in (0, 0, 1))
    assert all(len(block.ids) == 64 and all(block.trained) for block in first) and len(first) == 10
    assert [b.ids for b in first] == [b.ids for b in again] != [b.ids for b in other]


def test_test_texts_are_not_train_texts_and_groups_are_known() -> None:
    lab = Lab(0)
    assert len(lab.domains()) == 20 and set(lab.unseen) < set(lab.domains())
    assert len(set(lab.texts("sci.med")) & set(lab.texts("sci.med", "test"))) < 5
    with pytest.raises(OptionError, match=r"did you mean 'sci\.med'"):
        lab.texts("sci.medd")


def test_classes_and_images_are_drawn_by_the_seed() -> None:
    texts, y, test_texts, test_y = Lab(1).classes("vader-films", 8, 20)
    assert np.bincount(y).tolist() == [8, 8] and len(test_texts) == len(test_y) == 20
    assert Lab(1).classes("vader-films", 8, 20)[0] == texts != Lab(2).classes("vader-films", 8, 20)[0]
    x, _, x_test, _ = Lab(0).digits(100, 50)
    assert x.shape == (100, 1, 8, 8) and x_test.shape == (50, 1, 8, 8) and x.dtype == np.float32 and x.max() <= 1


def test_models_are_made_once_and_a_trained_one_knows_more() -> None:
    lab = Lab(0, smoke=True)
    held_out = lab.blocks(lab.texts("sci.space", "test")[:40], count=8)
    made, again = lab.language_model(), lab.language_model()
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), again.state_dict().values(), strict=True))
    untrained = lab.loss(lab.scratch(4, 192), held_out)
    assert lab.loss(made, held_out) < untrained - 0.2
    assert lab.meter.bill().tokens_backward == 0  # what is kept in the cache is on nobody's bill
    tuned = lab.tune(made, lab.blocks(lab.texts("sci.med"), count=4), adapter="lora", steps=2, batch_size=2)
    assert lab.meter.bill().tokens_backward == 2 * 2 * 128
    assert lab.loss(tuned, held_out) != lab.loss(again, held_out)


def test_a_model_of_another_shape_is_another_model() -> None:
    lab = Lab(0, smoke=True)
    small, usual = lab.language_model(layers=2, width=64, heads=2), lab.language_model()
    assert small.config.hidden_size == 64 and small.config.num_hidden_layers == 2 and usual.config.hidden_size == 128
    held_out = lab.blocks(lab.texts("sci.space", "test")[:40], count=4)
    assert lab.loss(small, held_out) < lab.loss(lab.scratch(layers=2, width=64, heads=2), held_out) - 0.2


def test_carries_are_learned_after_sums_by_a_model_of_the_seed() -> None:
    lab = Lab(4, smoke=True)
    model, learned, held_out = lab.carries(6, 3)
    again, _, unseen = Lab(5, smoke=True).carries(6, 3)
    weights, others, plain = (next(iter(one.parameters())) for one in (model, again, lab.language_model()))
    assert not torch.equal(weights, others) and not torch.equal(weights, plain)
    assert lab.meter.bill().tokens_backward == 0 and (len(learned), len(held_out)) == (6, 3)
    told = lab.tokenizer().decode([token for token, trained in zip(learned[0].ids, learned[0].trained, strict=True)
                                   if trained][:-1])
    assert told == lab.sums(6)[0]["rationale"]
    assert held_out != unseen and not {tuple(row.ids) for row in learned} & {tuple(row.ids) for row in held_out}


def test_directions_are_of_unit_length() -> None:
    lab = Lab(0)
    found = lab.directions(lab.minilm(), ["a dog ran", "a dog ran", "interest rates"], max_tokens=8)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert found[0] @ found[1] > 0.999 > found[0] @ found[2]
