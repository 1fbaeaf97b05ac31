"""What every method must do, of whatever family it is."""

from __future__ import annotations

import inspect

import pytest

from scrimp.core.errors import OptionError
from scrimp.core.registry import FAMILIES, Preset, build, presets
from scrimp.verbs.base import plain

pytestmark = pytest.mark.parametrize("preset", presets(), ids=lambda preset: f"{preset.family}/{preset.name}")


def test_it_is_of_a_family_and_has_that_familys_verb(preset: Preset) -> None:
    assert preset.family in FAMILIES
    assert callable(getattr(preset.method, preset.method.verb))


def test_an_unknown_option_is_refused_with_the_nearest(preset: Preset) -> None:
    known = next(iter(preset.method.model_fields), None)
    with pytest.raises(OptionError, match=f"did you mean '{known}'" if known else "unknown option"):
        preset.build({f"{known or 'option'}x": 1})


def test_its_options_make_it_again(preset: Preset) -> None:
    made = preset.build()
    assert build(preset.family, preset.name, made.model_dump(mode="json")) == made


def test_the_types_of_its_options_can_be_read(preset: Preset) -> None:
    for name, field in preset.method.model_fields.items():
        told = inspect.formatannotation(plain(field.annotation))
        assert " at 0x" not in told and "Annotated" not in told and "scrimp." not in told, name
