"""Mixes by what the average of their domains' models is worth."""

from __future__ import annotations

import pytest
import torch

from scrimp.core.errors import OptionError
from scrimp.planning.mixtures import foresee

MODELS = {"web": {"w": torch.tensor([0.0, 4.0])}, "law": {"w": torch.tensor([4.0, 0.0])},
          "art": {"w": torch.tensor([9.0, 9.0])}}


def test_mixes_come_in_the_order_of_their_averages() -> None:
    mixes = [{"web": 1.0}, {"web": 3.0, "law": 1.0}, {"law": 0.5, "web": 0.5, "art": 0.0}]
    found = foresee(MODELS, mixes, lambda weights: float((weights["w"] - torch.tensor([2.0, 2.0])).norm()))
    assert [one.mix for one in found] == mixes[::-1]
    assert [one.loss for one in found] == pytest.approx([0.0, 2 ** 0.5, 8 ** 0.5])


def test_a_domain_without_a_model_is_told() -> None:
    with pytest.raises(OptionError, match="no model was trained on 'lw'; did you mean 'law'"):
        foresee(MODELS, [{"lw": 1.0}], lambda weights: 0.0)
