"""Verdicts: what holds, what fails, what nobody can tell, and what could have been seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scrimp.core.errors import GuardError
from scrimp.evidence.claims import Inequality
from scrimp.evidence.verdicts import judge, overall

SEEDS = range(5)


def finding(text: str, new: list[float], old: list[float]) -> object:
    scores = {"new": {s: {"x": v} for s, v in zip(SEEDS, new, strict=True)},
              "old": {s: {"x": v} for s, v in zip(SEEDS, old, strict=True)}}
    return judge(Inequality.parse(text, ["new", "old"]), scores, list(SEEDS))


@pytest.mark.parametrize(("new", "verdict"), [
    ([1.1, 1.2, 1.15, 1.05, 1.3], "holds"), ([0.9, 0.8, 0.85, 0.95, 0.7], "fails"),
    ([1.3, 0.8, 1.1, 0.9, 1.0], "inconclusive"),
])
def test_the_interval_decides(new: list[float], verdict: str) -> None:
    found = finding("x: new > old", new, [1.0] * 5)
    assert found.verdict == verdict
    expected = stats.ttest_rel(new, [1.0] * 5).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.against == pytest.approx(1.0)


def test_the_comparison_is_paired() -> None:
    old = [1.0, 5.0, 9.0, 2.0, 7.0]
    assert finding("x: new > old", [value + 0.1 + 0.001 * i for i, value in enumerate(old)], old).verdict == "holds"


def test_equality_holds_only_where_it_is_claimed() -> None:
    assert finding("x: new <= 0", [0.0] * 5, [0.0] * 5).verdict == "holds"
    assert finding("x: new < 0", [0.0] * 5, [0.0] * 5).verdict == "inconclusive"


def test_the_smallest_detectable_effect_would_be_detected_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    spread = rng.standard_normal(5)
    found = finding("x: new > old", list(spread), [0.0] * 5)
    real = found.detectable / np.std(spread, ddof=1)
    drawn = rng.standard_normal((20_000, 5)) + real
    half = stats.t.ppf(0.975, 4) * drawn.std(axis=1, ddof=1) / np.sqrt(5)
    assert np.mean(drawn.mean(axis=1) - half > 0) == pytest.approx(0.8, abs=0.07)


def test_four_seeds_give_no_verdict() -> None:
    with pytest.raises(GuardError, match="at least 5 seeds"):
        judge(Inequality.parse("x: new > 0", ["new"]), {"new": {s: {"x": 1.0} for s in range(4)}}, range(4))


def test_a_claim_is_as_good_as_its_worst_inequality() -> None:
    good, bad, unsure = (finding("x: new > old", new, [1.0] * 5) for new in (
        [1.1, 1.2, 1.15, 1.05, 1.3], [0.9, 0.8, 0.85, 0.95, 0.7], [1.3, 0.8, 1.1, 0.9, 1.0]))
    assert overall([good, good]) == "holds"
    assert overall([good, unsure]) == "inconclusive"
    assert overall([good, unsure, bad]) == "fails"
