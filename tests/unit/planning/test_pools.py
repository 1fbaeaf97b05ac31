"""Which pools to train on, by laws of each alone."""

import math

import numpy as np
import pytest

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import build
from scrimp.planning.allocation import Piloted

COSTS = {"good": 1.0, "poor": 1.0}
SIZES = {"good": 1000.0, "poor": 8000.0}
POWERS, END, HALF_LIFE = {"good": 0.4, "poor": 0.36}, 1.0, 3.0


def loss(powers, size, tokens, half_life):
    """Of one pass after another, by hand."""
    found, seen, power = 20.0, 1.0, powers
    for end in [*np.arange(size, tokens, size), tokens]:
        found, seen, power = found * (end / seen) ** -power, end, power * 0.5 ** (1 / half_life)
    return found + END


def pilots(sums=(250, 500, 1000, 2000, 4000, 8000)):
    return [Piloted({one: float(one == name) for one in COSTS}, float(money),
                    loss(POWERS[name], SIZES[name], money, HALF_LIFE)) for name in COSTS for money in sums]


def test_few_tokens_go_to_the_good_pool_and_many_to_both():
    method = build("allocation", "pools-by-utility", {"sizes": SIZES})
    chosen = {budget: method.allocate(budget, COSTS, pilots=pilots()) for budget in (900, 10**6)}
    assert chosen[900].counts == {"good": 900, "poor": 0}
    assert "good and poor" in chosen[10**6].why
    assert chosen[10**6].counts["poor"] == pytest.approx(8 * chosen[10**6].counts["good"], rel=0.01)


def test_the_law_of_each_pool_is_found_again():
    law = build("allocation", "pools-by-utility", {"sizes": SIZES}).fitted(COSTS, pilots())
    for name in COSTS:
        assert law.pools[name].power == pytest.approx(POWERS[name], rel=0.02)
        assert law((name,), 7000) == pytest.approx(loss(POWERS[name], SIZES[name], 7000, HALF_LIFE), rel=1e-4)
    assert law.pools["good"].half_life == pytest.approx(HALF_LIFE, rel=0.05)


def test_a_pool_among_others_has_its_share_of_the_power_and_a_longer_half_life():
    law = build("allocation", "pools-by-utility", {"sizes": SIZES}).fitted(COSTS, pilots())
    mean = (POWERS["good"] + 8 * POWERS["poor"]) / 9
    assert law(("good", "poor"), 9000) == pytest.approx(20 * 9000**-mean + END, rel=1e-3)
    lives = {name: law.pools[name].half_life * 9 / part for name, part in (("good", 1), ("poor", 8))}
    second = sum(part * POWERS[name] * 0.5 ** (1 / lives[name]) for name, part in (("good", 1), ("poor", 8))) / 9
    assert law(("good", "poor"), 18000) == pytest.approx(20 * 9000**-mean * 2**-second + END, rel=1e-3)


def test_a_pool_without_an_end_is_never_repeated():
    method = build("allocation", "pools-by-utility", {"sizes": {"good": 1000.0}})
    assert method.shares(("good", "poor")) == {"good": 0.0, "poor": 1.0}
    assert method.allocate(500, COSTS, pilots=pilots()).counts["good"] == 500


def test_pilots_and_sizes_that_say_nothing_are_refused():
    with pytest.raises(DataError, match="'good' alone"):
        build("allocation", "pools-by-utility").allocate(100, COSTS, pilots=pilots((1, 2)))
    with pytest.raises(DataError, match="positive and finite"):
        build("allocation", "pools-by-utility").allocate(100, COSTS, pilots=[
            *pilots(), Piloted({"good": 1.0, "poor": 0.0}, 5.0, math.nan)])
    for sizes in ({"other": 5.0}, {"good": 0.0}):
        with pytest.raises(OptionError, match="sizes"):
            build("allocation", "pools-by-utility", {"sizes": sizes}).allocate(100, COSTS, pilots=pilots())
