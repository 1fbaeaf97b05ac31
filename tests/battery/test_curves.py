"""What every law must do, third parties' included."""

from __future__ import annotations

import time

import numpy as np
import pytest

from scrimp.core.errors import DataError
from scrimp.core.registry import Preset, presets
from scrimp.planning.curveforms import factors
from scrimp.planning.curves import Law, Point

pytestmark = pytest.mark.parametrize("preset", presets("curve"), ids=lambda p: p.name)

POINTS = 24
NOISE = 0.01


def law_of(preset: Preset) -> Law:
    made = preset.build()
    assert isinstance(made, Law)
    return made


def places(law: Law, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    names = {one.variable for term in law.terms for one in factors(term)}
    at = {name: 2.0 ** rng.integers(3, 9, count) for name in sorted(names)}
    return at if law.repeats == "none" else {**at, "unique": at["tokens"] / rng.integers(1, 9, count)}


def drawn(law: Law, seed: int) -> tuple[list[Point], dict[str, float], float]:
    """Points of a law as it may be expected, a place further on, and what the law says there."""
    rng = np.random.default_rng(seed)
    at = places(law, POINTS, rng)
    form = law.form(at, np.ones(POINTS))
    mean, spread = law.expected(form)
    further = {name: 2 * values.max() for name, values in at.items()}
    for _ in range(100):
        parameters = (mean + 0.3 * spread * rng.standard_normal(len(mean)))[None, :-1]
        values = form.values(parameters, at)[0]
        there = float(form.values(parameters, {name: np.array([value]) for name, value in further.items()})[0, 0])
        if values.min() > 0 and there > 0:
            break
    noisy = values * np.exp(NOISE * rng.standard_normal(POINTS))
    return [Point({name: float(at[name][i]) for name in at}, float(noisy[i])) for i in range(POINTS)], further, there


def test_what_a_law_of_its_form_says_further_on_lies_in_the_interval(preset: Preset) -> None:
    law, held = law_of(preset), 0
    for seed in range(3):
        points, further, there = drawn(law, seed)
        found = law.fit(points).predict(further)
        held += found.low <= there <= found.high
        assert found.low <= found.value <= found.high
    assert held >= 2


def test_the_points_are_met(preset: Preset) -> None:
    law = law_of(preset)
    points, _, _ = drawn(law, 5)
    fitted = law.fit(points)
    kept = [point for point in points if not law.power_phase or point.at["rows"] >= 64]
    off = [np.log(point.value / fitted.predict(point.at).value) for point in kept]
    assert np.sqrt(np.mean(np.square(off))) < 4 * NOISE


def test_the_same_seed_gives_the_same_and_chance_is_left_alone(preset: Preset) -> None:
    law, before = law_of(preset), np.random.get_state()[1].copy()
    points, further, _ = drawn(law, 6)
    assert law.fit(points, seed=1).predict(further) == law.fit(points, seed=1).predict(further)
    assert np.array_equal(np.random.get_state()[1], before)


def test_units_do_not_matter(preset: Preset) -> None:
    law = law_of(preset)
    points, further, _ = drawn(law, 7)
    one = law.fit(points).predict(further)
    other = law.fit([Point(point.at, 1000 * point.value) for point in points]).predict(further)
    assert np.allclose(np.array(other) / 1000, one, rtol=0.05)


def test_few_points_make_a_wider_interval_than_many(preset: Preset) -> None:
    law = law_of(preset)
    points, further, _ = drawn(law, 8)
    few, many = (law.fit(some).predict(further) for some in (points[:len(points) // 3], points))
    assert np.log(few.high / few.low) > 0.8 * np.log(many.high / many.low) > 0.016


def test_a_fit_takes_less_than_a_second(preset: Preset) -> None:
    law = law_of(preset)
    points, _, _ = drawn(law, 9)
    began = time.process_time()
    law.fit(points)
    assert time.process_time() - began < 1


def test_what_tells_nothing_is_refused(preset: Preset) -> None:
    law = law_of(preset)
    points, _, _ = drawn(law, 10)
    name = sorted(points[0].at)[0]
    with pytest.raises(DataError, match="2 points tell of no law"):
        law.fit(points[:2])
    with pytest.raises(DataError, match="not positive and finite"):
        law.fit([*points[:-1], Point(points[-1].at, 0.0)])
    with pytest.raises(DataError, match=f"does not say its '{name}'"):
        law.fit([*points[:-1], Point({key: x for key, x in points[-1].at.items() if key != name} | {"n": 1.0}, 1.0)])
    if name != "unique":
        with pytest.raises(DataError, match=f"'{name}' is the same at all points"):
            law.fit([Point({**point.at, name: 4.0}, point.value) for point in points])


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    told = preset.method.__doc__ or ""
    assert all(f"    {name}: " in told for name in preset.method.model_fields)
