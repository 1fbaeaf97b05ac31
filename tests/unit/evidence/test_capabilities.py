"""Capabilities are what trials found: a method that cannot, cannot say that it can."""

from __future__ import annotations

import pytest
from torch import nn

import scrimp
from scrimp.core.errors import OptionError
from scrimp.core.registry import _PRESETS, preset, presets
from scrimp.evidence.capabilities import TRIED, probe
from scrimp.tuning.adapters import Adapter


class Nothing(Adapter):
    """Let nothing move."""

    def move(self, model: nn.Module) -> nn.Module:
        return model


@pytest.fixture
def nothing():
    preset("nothing", Nothing)
    yield
    del _PRESETS["adapter", "nothing"]


@pytest.mark.parametrize("family", TRIED)
def test_every_method_is_tried_in_every_way_and_can_do_something(family: str) -> None:
    found = {one.name: one.cells for one in probe(family)}
    assert set(found) == {p.name for p in presets(family)}
    assert len({tuple(cells) for cells in found.values()}) == 1
    assert all("yes" in cells.values() for cells in found.values())
    assert all(told == "yes" or len(told) > len("no: ") for cells in found.values() for told in cells.values())


def test_a_method_that_can_do_nothing_is_told_to(nothing: None) -> None:
    (found,) = [one for one in scrimp.methods("adapter", capabilities=True) if one.name == "nothing"]
    assert all(told == "no: nothing of this model can move" for told in found.cells.values())


def test_only_some_families_are_tried() -> None:
    with pytest.raises(OptionError, match="nothing is tried"):
        scrimp.methods("merging", capabilities=True)
