from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from scrimp.core.errors import DataError, OptionError
from scrimp.core.registry import build
from scrimp.planning.curveforms import Form, factors
from scrimp.planning.curves import Fitted, Point, allocated, points
from scrimp.planning.curvesampling import stretched

ROWS = (8, 16, 32, 64, 128, 256)


def fitted(values, rows=ROWS, name="power-law", **options) -> Fitted:
    return build("curve", name, options).fit(points(values, rows=rows))


def power(rows=ROWS, end=0.1, size=1.2, exponent=0.7) -> np.ndarray:
    return end + size * np.array(rows, dtype=float) ** -exponent


def width(found) -> float:
    return float(np.log(found.high / found.low))


def test_the_sampler_finds_the_moments_of_an_ill_shaped_gaussian() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([[1.0, 0.999], [0.999, 1.0]]) * np.outer([1, 100], [1, 100])
    inverse, mean = np.linalg.inv(spread), np.array([3.0, -50.0])
    draws = stretched(lambda x: -0.5 * np.einsum("wi,ij,wj->w", x - mean, inverse, x - mean),
                      rng.standard_normal((64, 2)), steps=1500, kept=1000, rng=rng)
    assert np.allclose(draws.mean(axis=0), mean, atol=[0.1, 10])
    assert np.allclose(np.cov(draws.T) / spread, 1, atol=0.2)


def test_the_sampler_never_enters_where_there_is_nothing() -> None:
    rng = np.random.default_rng(0)
    draws = stretched(lambda x: np.where(x[:, 0] > 0, -x[:, 0], -np.inf), rng.random((32, 1)), steps=400, kept=200,
                      rng=rng)
    assert draws.min() > 0
    assert draws.mean() == pytest.approx(1, abs=0.15)


def test_a_clean_law_is_found() -> None:
    found = fitted(power(), noise=0.005)
    assert found.exponent().low < 0.7 < found.exponent().high < 1.0
    assert found.end().value == pytest.approx(0.1, abs=0.02)
    assert found.predict({"rows": 1024}).value == pytest.approx(power([1024])[0], rel=0.05)


def test_one_far_point_does_not_rule() -> None:
    values = power()
    values[2] *= 3
    assert fitted(values).predict({"rows": 512}).value == pytest.approx(power([512])[0], rel=0.15)


def test_a_point_of_large_error_counts_less() -> None:
    values = power()
    values[-1] *= 1.5
    trusted, doubted = (build("curve", "power-law").fit(points(values, [0, 0, 0, 0, 0, error], rows=ROWS))
                        for error in (0.0, 0.5))
    true = power([512])[0]
    assert abs(doubted.predict({"rows": 512}).value - true) < abs(trusted.predict({"rows": 512}).value - true)


def test_intervals_widen_with_distance_noise_and_level() -> None:
    rng = np.random.default_rng(1)
    clean, noisy = (fitted(power() * np.exp(sd * rng.standard_normal(6))) for sd in (0.002, 0.1))
    widths = [width(clean.predict({"rows": rows})) for rows in (128, 512, 2048, 8192)]
    assert widths == sorted(widths)
    assert width(noisy.predict({"rows": 512})) > 1.5 * width(clean.predict({"rows": 512}))
    assert width(clean.predict({"rows": 512}, level=0.5)) < 0.6 * width(clean.predict({"rows": 512}))


def test_three_points_that_do_not_tell_a_bend_from_a_line_leave_both_open() -> None:
    found = fitted(power((32, 64, 128), end=0.3, exponent=0.5), (32, 64, 128), name="learning-curve")
    assert width(found.predict({"rows": 4096})) > 1
    assert found.end().low < 0.02


def test_a_flat_beginning_may_still_fall() -> None:
    found = fitted([0.5, 0.5, 0.5], (8, 16, 32), name="learning-curve").predict({"rows": 128})
    assert found.low < 0.4


def test_what_was_learned_before_is_seen_by_the_rectified_law_alone() -> None:
    values = 40 / (60 + np.array(ROWS) ** 1.0)
    there = 40 / (60 + 2048)
    right, straight = (fitted(values, name=name).predict({"rows": 2048}).value for name in ("rectified", "power-law"))
    assert abs(np.log(right / there)) < 0.3 * abs(np.log(straight / there))


def test_accept_then_stop_leaves_out_what_comes_before_the_straight_stretch() -> None:
    rows = np.array([4, 8, 16, 32, 64, 128, 256])
    values = np.minimum(0.5, 8.0 / rows)
    found = fitted(values, rows, name="accept-then-stop")
    assert found.predict({"rows": 1024}).value == pytest.approx(8 / 1024, rel=0.05)
    assert found.exponent().value == pytest.approx(1, abs=0.05)


def test_two_variables_and_a_shared_exponent() -> None:
    rng = np.random.default_rng(0)
    params, tokens = 10 ** rng.uniform(4, 6, 20), 10 ** rng.uniform(5, 7, 20)
    law = build("curve", "overtraining", {"noise": 0.005})
    ratio, compute = tokens / params, params * tokens
    values = 1.5 + (30 * ratio**0.2 + 20 * ratio**-0.2) * compute**-0.2
    found = law.fit(points(values, ratio=ratio, compute=compute))
    assert found.exponent("e").value == pytest.approx(0.2, abs=0.04)
    there = {"ratio": 100.0, "compute": 1e14}
    true = 1.5 + (30 * 100**0.2 + 20 * 100**-0.2) * 1e14**-0.2
    assert found.predict(there).low < true < found.predict(there).high


def test_an_exponent_may_have_either_sign() -> None:
    rng = np.random.default_rng(0)
    params, tokens = 10 ** rng.uniform(4, 6, 15), 10 ** rng.uniform(5, 7, 15)
    found = build("curve", "hyperparameters").fit(points(2 * params**-0.7 * tokens**0.3, params=params, tokens=tokens))
    assert found.exponent("a").value == pytest.approx(-0.7, abs=0.03)
    assert found.exponent("b").value == pytest.approx(0.3, abs=0.03)


@settings(max_examples=30, deadline=None)
@given(half_life=st.floats(0.3, 20), epochs=st.floats(1, 60))
def test_repeated_tokens_are_worth_what_the_integral_of_their_decay_says(half_life: float, epochs: float) -> None:
    one = {"tokens": np.array([1000 * epochs]), "unique": np.array([1000.0])}
    form = Form([factors("tokens^-b")], one, np.ones(1), offset=False, rising=False, rectified=False,
                repeats="utility")
    parameters = np.array([[0.0, 0.0, np.log(half_life)]])  # size, exponent one, half-life
    once = {"tokens": np.array([1000.0]), "unique": np.array([1000.0])}
    gained = np.log(form.values(parameters, once) / form.values(parameters, one))[0, 0]
    assert gained == pytest.approx(quad(lambda r: 2 ** (-(r - 1) / half_life) / r, 1, epochs)[0], abs=1e-6)


def test_tokens_seen_once_are_worth_themselves_however_repetition_counts() -> None:
    tokens = np.array([100.0, 200, 400, 800])
    for name in ("utility", "repetition"):
        found = build("curve", name).fit(points(2 + 50 * tokens**-0.5, tokens=tokens, unique=2 * tokens))
        one, other = (found.predict({"tokens": 1600, "unique": unique}).value for unique in (1600, 9999))
        assert one == other


def test_how_much_is_needed_is_where_the_law_gets_there() -> None:
    found = fitted(power(end=0.05), noise=0.005)
    needed = found.needed(0.08)
    assert needed.low < ((0.08 - 0.05) / 1.2) ** (-1 / 0.7) < needed.high
    assert fitted(power(end=0.3), noise=0.005).needed(0.2).value == np.inf


def test_regimes() -> None:
    rows = 2.0 ** np.arange(4, 12)
    assert fitted(3 / rows, rows, offset=False).regime() == "variance"
    assert fitted(3 * rows**-0.4, rows, offset=False).regime() == "resolution"


def test_rows_go_where_they_are_worth_the_most() -> None:
    rows = np.array([8.0, 16, 32, 64])
    steep, flat = fitted(3 * rows**-0.8, rows), fitted(0.3 + 0.2 / rows, rows)
    given = allocated({"steep": steep, "flat": flat}, 400, step=20)
    assert sum(given.values()) == 400
    assert given["steep"] > 300
    assert allocated({"steep": steep, "flat": flat}, 400, step=20, weights={"steep": 0, "flat": 1})["steep"] == 0


@pytest.mark.parametrize(("options", "told"), [
    ({"terms": ["rows"]}, "'rows' is no term of a law"), ({"terms": []}, "at least 1"),
    ({"exponents": [2, 1]}, "the smaller first"), ({"rectified": True, "terms": ["a^-x", "b^-y"]}, "one term"),
    ({"rising": True, "offset": False}, "needs an 'offset'"), ({"repeats": "utility"}, "which no term has"),
    ({"power_phase": True, "terms": ["a^-x b^-y"]}, "of a single variable"),
])
def test_forms_that_make_no_sense_are_refused(options, told) -> None:
    with pytest.raises(OptionError, match=told):
        build("curve", "power-law", options)


def test_what_a_law_cannot_tell_is_refused() -> None:
    found = fitted(power())
    with pytest.raises(OptionError, match="no exponent 'z'"):
        found.exponent("z")
    with pytest.raises(OptionError, match="no repetition"):
        found.half_life()
    with pytest.raises(DataError, match="does not say its 'rows'"):
        found.predict({"row": 3})
    with pytest.raises(DataError, match="not positive and finite"):
        found.predict({"rows": 0})
    with pytest.raises(DataError, match="error is negative"):
        build("curve", "power-law").fit([Point({"rows": n}, 1 / n, -1) for n in ROWS])
    two = build("curve", "chinchilla").fit(points(power(), params=ROWS, tokens=ROWS[::-1]))
    with pytest.raises(DataError, match="several variables"):
        two.needed(0.1)
