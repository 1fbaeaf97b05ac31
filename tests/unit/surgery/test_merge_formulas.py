"""Merges against the published formulas, written again entry by entry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import GuardError, OptionError
from scrimp.core.registry import build

NUMBER = st.floats(-4, 4, width=32)
ROWS = st.lists(st.lists(NUMBER, min_size=6, max_size=6), min_size=2, max_size=4)


def one(name: str, models: list[list[float]], base: list[float] | None = None, **options: object) -> list[float]:
    states = [{"w": torch.tensor(model, dtype=torch.float64)} for model in models]
    started = None if base is None else {"w": torch.tensor(base, dtype=torch.float64)}
    return dict(build("merging", name, options).apply(states, base=started))["w"].tolist()


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def kept_largest(change: list[float], count: int, skipped: int = 0) -> list[float]:
    order = sorted(range(len(change)), key=lambda i: -abs(change[i]))[skipped: skipped + count]
    return [x if i in order else 0.0 for i, x in enumerate(change)]


def disjoint_mean(changes: list[list[float]]) -> list[float]:
    """TIES: elect the sign of the sum, then the mean of the entries that have it."""
    found = []
    for entries in zip(*changes, strict=True):
        elected = sign(sum(entries))
        chosen = [x for x in entries if sign(x) == elected and x]
        found.append(sum(chosen) / len(chosen) if chosen else 0.0)
    return found


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(NUMBER, min_size=6, max_size=6), st.floats(0, 2))
def test_task_arithmetic_adds_scaled_differences(models: list, base: list, scale: float) -> None:
    wanted = [b + scale * sum(m[i] - b for m in models) for i, b in enumerate(base)]
    assert one("task-arithmetic", models, base, scale=scale) == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(NUMBER, min_size=6, max_size=6), st.sampled_from([2, 3, 6]))
def test_ties_trims_elects_and_averages(models: list, base: list, count: int) -> None:
    changes = [kept_largest([x - b for x, b in zip(m, base, strict=True)], count) for m in models]
    wanted = [b + 0.7 * x for b, x in zip(base, disjoint_mean(changes), strict=True)]
    assert one("ties", models, base, density=count / 6, scale=0.7) == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(NUMBER, min_size=6, max_size=6), st.integers(0, 2), st.integers(1, 3))
def test_breadcrumbs_drops_both_tails(models: list, base: list, top: int, count: int) -> None:
    changes = [kept_largest([x - b for x, b in zip(m, base, strict=True)], count, skipped=top) for m in models]
    wanted = [b + 0.3 * sum(c[i] for c in changes) for i, b in enumerate(base)]
    found = one("breadcrumbs", models, base, density=count / 6, outliers=(top + 1e-6) / 6, scale=0.3)
    assert found == pytest.approx(wanted, abs=1e-9)


def test_dare_drops_at_the_rate_and_keeps_the_expectation() -> None:
    base, model = {"w": torch.zeros(300, 300)}, {"w": torch.ones(300, 300)}
    found = dict(build("merging", "dare", {"density": 0.2}).apply([model], base=base))["w"]
    assert set(found.unique().tolist()) == {0.0, 5.0}
    assert float(found.mean()) == pytest.approx(1, abs=0.05)
    plain = dict(build("merging", "dare", {"density": 0.2, "rescale": False}).apply([model], base=base))["w"]
    torch.testing.assert_close(plain * 5, found)


def test_dare_draws_apart_for_each_tensor_model_and_seed() -> None:
    ones, zeros = {n: torch.ones(64, 64) for n in "ab"}, {n: torch.zeros(64, 64) for n in "ab"}
    dare = build("merging", "dare", {"density": 0.5})
    found = dict(dare.apply([ones], base=zeros))
    assert not torch.equal(found["a"], found["b"])
    assert not torch.equal(found["a"], dict(dare.apply([ones], base=zeros, seed=1))["a"])
    two = dict(dare.apply([ones, ones], base=zeros))["a"]
    assert set(two.unique().tolist()) == {0.0, 2.0, 4.0}
    alone = dict(dare.apply([{"b": ones["b"]}], base={"b": zeros["b"]}))
    assert torch.equal(alone["b"], found["b"])


def test_dare_ties_elects_among_what_was_not_dropped() -> None:
    base = {"w": torch.zeros(40, 40)}
    models = [{"w": torch.full((40, 40), value)} for value in (3.0, -1.0)]
    found = dict(build("merging", "dare-ties", {"density": 0.5}).apply(models, base=base))["w"]
    assert set(found.unique().tolist()) == {6.0, -2.0, 0.0}


def test_lore_adapt_keeps_the_leading_directions_of_the_first_model_alone() -> None:
    left, right = torch.eye(4), torch.eye(6)[:4]
    instructed = left @ torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.5])) @ right
    domain = torch.arange(24.0).view(4, 6)
    models, base = [{"w": instructed}, {"w": domain}], {"w": torch.zeros(4, 6)}
    held = [16 / 21.25, 20 / 21.25]
    for energy, rank in ((held[0] - 0.01, 1), (held[0], 1), (held[0] + 0.01, 2), (held[1], 2), (1.0, 4)):
        merge = build("merging", "lore-adapt", {"scale": 1.0, "energy": (energy, 1.0)})
        change = dict(merge.apply(models, base=base))["w"] - domain
        assert int(torch.linalg.matrix_rank(change, tol=1e-3)) == rank
        torch.testing.assert_close(change.diagonal()[:rank], instructed.diagonal()[:rank])


def test_re_adapt_is_half_of_each_difference() -> None:
    assert one("re-adapt", [[3.0, 1.0], [1.0, 5.0]], [1.0, 1.0]) == [2.0, 3.0]


def test_soup_is_the_weighted_mean_and_needs_no_base() -> None:
    assert one("soup", [[1.0, 2.0], [3.0, 6.0]]) == [2.0, 4.0]
    assert one("soup", [[1.0, 2.0], [3.0, 6.0]], weights=(3, 1)) == [1.5, 3.0]


def test_wise_ft_goes_part_of_the_way() -> None:
    assert one("wise-ft", [[3.0]], [1.0]) == [2.0]
    assert one("wise-ft", [[3.0]], [1.0], toward=0.25) == [1.5]


def test_slerp_keeps_the_length_where_a_straight_line_does_not() -> None:
    assert one("slerp", [[1.0, 0.0], [0.0, 1.0]]) == pytest.approx([math.sqrt(0.5)] * 2)
    assert one("slerp", [[2.0, 0.0]], [0.0, 2.0], toward=1 / 3) == pytest.approx([1.0, math.sqrt(3)])
    assert one("slerp", [[1.0, 1.0], [2.0, 2.0]]) == pytest.approx([1.5, 1.5])


@pytest.mark.parametrize(("name", "options", "told"), [
    ("ties", {"weights": (1.0,)}, "1 numbers for 2 models"), ("lore-adapt", {"energy": (0.5,)}, "1 numbers"),
    ("soup", {"weights": (1.0, -1.0)}, "sum to 0"), ("breadcrumbs", {"density": 0.995}, "more than all"),
    ("lore-adapt", {"energy": (0.0, 1.0)}, "share above 0"), ("dare", {"density": 0.0}, "greater than 0"),
    ("soup", {"weights": "a,b"}, "weights"),
])
def test_options_that_make_no_sense_are_refused(name: str, options: dict, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        one(name, [[1.0], [2.0]], [0.0], **options)


def test_weights_may_be_text() -> None:
    assert one("task-arithmetic", [[1.0], [2.0]], [0.0], weights="0.5, 2") == [4.5]


def test_numbers_that_overflow_are_refused() -> None:
    half = {"w": torch.tensor([60000.0], dtype=torch.float16)}
    with pytest.raises(GuardError, match="NaN or infinite"):
        dict(build("merging", "task-arithmetic").apply([half, half], base={"w": torch.zeros(1)}))
