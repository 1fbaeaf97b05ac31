"""What every packing must do, third parties' included."""

from __future__ import annotations

import random

import pytest
import torch

from scrimp.core.registry import Preset, presets
from scrimp.examples.templates import Encoded

pytestmark = pytest.mark.parametrize("preset", presets("packing"), ids=lambda p: p.name)


def rows(count: int) -> list[Encoded]:
    """No token twice; every third is not trained."""
    draw, made, at = random.Random(count), [], 0
    for row in range(count):
        ids = list(range(at, at + draw.randrange(1, 300)))
        made.append(Encoded(ids, [token % 3 > 0 for token in ids], row=row))
        at += len(ids)
    return made


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_every_token_is_somewhere_at_most_once_with_its_mask(preset: Preset, count: int) -> None:
    given, packed = rows(count), preset.build().pack(rows(count), seed=0)
    tokens = [token for one in packed for token in one.ids]
    assert len(tokens) == len(set(tokens))
    assert set(tokens) <= {token for one in given for token in one.ids}
    assert len(tokens) >= sum(max(len(one.ids) - 16, 1) for one in given)
    assert all(one.ids and one.trained == [token % 3 > 0 for token in one.ids] for one in packed)


def test_a_sequence_is_known_by_the_row_that_it_begins_with(preset: Preset) -> None:
    owner = {token: one.row for one in rows(40) for token in one.ids}
    assert all(owner[one.ids[0]] == one.row for one in preset.build().pack(rows(40), seed=0))


def test_the_seed_decides_and_chance_is_left_alone(preset: Preset) -> None:
    before = torch.get_rng_state()
    random.seed(0)
    packed = preset.build().pack(rows(40), seed=3)
    random.seed(1)
    assert preset.build().pack(rows(40), seed=3) == packed
    assert torch.equal(torch.get_rng_state(), before)
