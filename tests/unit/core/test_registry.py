import sys
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

from scrimp.core import registry
from scrimp.core.errors import OptionError
from scrimp.core.registry import Method, build, lookup, preset, presets


class Doubler(Method):
    """Multiply by a factor."""

    family: ClassVar[str] = "arithmetic"
    verb: ClassVar[str] = "apply"
    factor: int = 2


@pytest.fixture
def arithmetic(monkeypatch):
    registry.presets()  # what is loaded first within the test would be gone after it
    monkeypatch.setitem(registry.FAMILIES, "arithmetic", "math")
    monkeypatch.setattr(registry, "_PRESETS", dict(registry._PRESETS))
    preset("double", Doubler, papers=(1,))
    preset("triple", Doubler, factor=3)


def test_a_preset_is_a_choice_of_options(arithmetic):
    assert build("arithmetic", "triple").factor == 3
    assert build("arithmetic", "triple", {"factor": 5}).factor == 5
    assert build("arithmetic", "triple").name == "triple"
    assert [p.name for p in presets("arithmetic")] == ["double", "triple"]
    assert lookup("arithmetic", "double").summary == "Multiply by a factor."


def test_mistakes_name_the_nearest(arithmetic):
    with pytest.raises(OptionError, match="did you mean 'triple'"):
        lookup("arithmetic", "tripel")
    with pytest.raises(OptionError, match="did you mean 'factor'"):
        build("arithmetic", "double", {"facter": 3})
    with pytest.raises(OptionError, match="there is no family 'arithmetics'"):
        lookup("arithmetics", "double")


def test_a_preset_with_a_wrong_option_is_refused_when_registered(arithmetic):
    with pytest.raises(OptionError, match="facter"):
        preset("quadruple", Doubler, facter=4)


def test_a_name_is_given_once(arithmetic):
    preset("double", Doubler, papers=(1,))  # the same again is no clash
    with pytest.raises(OptionError, match="registered already"):
        preset("double", Doubler, factor=7)


def test_a_third_party_adds_a_method_by_entry_point(arithmetic, tmp_path, monkeypatch):
    (tmp_path / "thirdparty.py").write_text(
        "from typing import ClassVar\nfrom scrimp.core.registry import Method, preset\n"
        "class Halver(Method):\n    '''Halve.'''\n    family: ClassVar[str] = 'arithmetic'\n"
        "    verb: ClassVar[str] = 'apply'\npreset('halve', Halver)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("halve", "thirdparty", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == registry.ENTRY_POINT_GROUP else [])
    monkeypatch.setattr(registry, "_LOADED", set())
    assert build("arithmetic", "halve").family == "arithmetic"
    sys.modules.pop("thirdparty")


def test_every_built_in_method_builds_by_name_and_has_a_page():
    for one in presets():
        assert one.build().family == one.family
        assert one.summary.endswith(".")
        assert one.method.verb and all(f.is_required() is False for f in one.method.model_fields.values())


def test_a_taken_name_is_told_and_left_out_and_the_rest_of_the_package_works(arithmetic, tmp_path, monkeypatch, capsys):
    (tmp_path / "clashing.py").write_text(
        "from typing import ClassVar\nfrom scrimp.core.registry import Method, preset\n"
        "class Halver(Method):\n    '''Halve.'''\n    family: ClassVar[str] = 'arithmetic'\n"
        "    verb: ClassVar[str] = 'apply'\npreset('double', Halver)\npreset('halve', Halver)\n"
        "class Chance(Method):\n    '''Draw.'''\n    family: ClassVar[str] = 'schedule'\n"
        "    verb: ClassVar[str] = 'apply'\npreset('cosine', Chance)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("clashing", "clashing", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    monkeypatch.setattr(registry, "_LOADED", set())
    assert [p.name for p in presets("arithmetic")] == ["double", "halve", "triple"]
    assert build("arithmetic", "double").factor == 2
    assert lookup("schedule", "cosine").summary != "Draw."  # of a family that nobody had asked for when it came
    told = capsys.readouterr().err.splitlines()
    assert [line.split("is left out")[0] for line in told] == [
        "warning: the arithmetic 'double' of the package 'clashing' ",
        "warning: the schedule 'cosine' of the package 'clashing' "]
    sys.modules.pop("clashing")
