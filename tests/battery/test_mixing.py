"""What every mixer must do, third parties' included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from scrimp.core.errors import DataError
from scrimp.core.registry import Preset, presets
from scrimp.data.mixing import Domains, Mixer, drawn_rows

pytestmark = pytest.mark.parametrize("preset", presets("mixing"), ids=lambda p: p.name)

STEPS = 40
SIZES = {"web": 300, "law": 20, "medicine": 1}


def made(preset: Preset) -> Mixer:
    """The preset, told which domain to favour where it has to be."""
    named: dict[str, Any] = {"favoured": {"law": 1.0}} if "favoured" in preset.method.model_fields else {}
    return preset.build(named)  # type: ignore[return-value]


def looks(method: Mixer, sizes: Mapping[str, int], before: int) -> tuple[dict[str, float], ...]:
    """What a model may have shown before a step: losses are positive, alignments of either sign."""
    rng = np.random.default_rng(0)
    numbers = [rng.uniform(0 if method.sees == "losses" else -2, 2, len(sizes)) for step in range(STEPS)
               if method.looks_at(step, STEPS)]
    known = sum(method.looks_at(step, STEPS) for step in range(before + 1))
    return tuple(dict(zip(sizes, row.tolist(), strict=True)) for row in numbers[:known])


@pytest.mark.parametrize("sizes", [SIZES, {"law": 5, "web": 5}, {"law": 3}], ids=len)
def test_weights_are_shares_of_all_domains_at_every_step(preset: Preset, sizes: dict[str, int]) -> None:
    method = made(preset)
    for step in range(STEPS):
        signals = Domains(sizes, STEPS, 8 * STEPS, looks(method, sizes, step))
        found = method.weights(step, signals=signals)
        assert list(found) == list(sizes)
        assert min(found.values()) >= 0 and sum(found.values()) == pytest.approx(1)
        assert found == method.weights(step, signals=signals)


def test_it_weighs_before_anything_was_seen(preset: Preset) -> None:
    found = made(preset).weights(0, signals=Domains(SIZES, STEPS, 8 * STEPS))
    assert sum(found.values()) == pytest.approx(1)


def test_it_looks_as_often_as_it_says_and_only_if_it_sees_something(preset: Preset) -> None:
    method = made(preset)
    asked = [step for step in range(STEPS) if method.looks_at(step, STEPS)]
    assert bool(asked) == (method.sees is not None)
    assert (method.cost().forward, method.cost().backward) == (
        len(asked), len(asked) if method.sees == "alignment" else 0)


def test_a_domain_gets_more_for_a_higher_number_and_the_same_where_nothing_is_seen(preset: Preset) -> None:
    method = made(preset)
    even = dict.fromkeys(SIZES, 0.5)
    first, second = (method.weights(1, signals=Domains(SIZES, STEPS, 8 * STEPS, (look,)))
                     for look in (even, {**even, "law": 1.5}))
    assert second["law"] > first["law"] if method.sees else second == first


def test_rows_are_drawn_as_it_weighs(preset: Preset) -> None:
    method, domains = made(preset), Domains(SIZES, STEPS, 8 * STEPS)
    had = [name for name, _ in drawn_rows(method, domains)]
    assert len(had) == domains.rows
    wanted = {name: 8 * sum(method.weights(step, signals=domains)[name] for step in range(STEPS)) for name in SIZES}
    assert all(abs(had.count(name) - wanted[name]) <= len(SIZES) for name in SIZES)


def test_a_domain_without_rows_is_refused(preset: Preset) -> None:
    with pytest.raises(DataError, match="law: a domain holds no rows"):
        made(preset).weights(0, signals=Domains({"web": 3, "law": 0}, STEPS, 3))


def test_it_is_described(preset: Preset) -> None:
    assert preset.summary.endswith(".")
    assert all(f"    {name}: " in preset.method.__doc__ for name in preset.method.model_fields)
