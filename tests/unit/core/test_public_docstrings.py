"""Whatever scrimp makes public says what it is. A linter's rule cannot know what a method inherits; this does."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType, SimpleNamespace

import pytest

import scrimp


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(scrimp.__path__, "scrimp."):
        if ".tried" not in found.name and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def silent(module: ModuleType) -> Iterable[str]:
    """The public names of a module that say nothing, those of a class's methods and properties included."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(thing):
            if not thing.__dict__.get("__doc__"):
                yield f"{module.__name__}.{name}"
            yield from (f"{module.__name__}.{name}.{part}" for part, found in vars(thing).items()
                        if not part.startswith("_") and _is_code(found) and not _told(thing, part))
        elif inspect.isfunction(thing) and not thing.__doc__:
            yield f"{module.__name__}.{name}"


def _told(thing: type, part: str) -> bool:
    """Whether the class, or one that it inherits from, says what a part of it is."""
    return any(vars(base)[part].__doc__ for base in thing.__mro__ if part in vars(base))


def _is_code(found: object) -> bool:
    return isinstance(found, classmethod | staticmethod | property) or inspect.isfunction(found)


def test_all_that_is_public_has_a_docstring() -> None:
    assert [name for module in modules() for name in silent(module)] == []


def test_the_package_and_its_verbs_have_one_each() -> None:
    assert scrimp.__doc__
    assert [name for name in scrimp.__all__ if len((getattr(scrimp, name).__doc__ or "").strip()) < 20] == []


@pytest.mark.parametrize(("source", "found"), [
    ("def f(): pass", ["m.f"]),
    ("class f: pass", ["m.f"]),
    ("class f:\n  'Says.'\n  def g(self): pass", ["m.f.g"]),
    ("class f:\n  'Says.'\n  @property\n  def g(self): pass", ["m.f.g"]),
    ("class b:\n  def g(self): 'Says.'\nclass f(b):\n  'Says.'\n  def g(self): pass", []),
    ("class f:\n  'Says.'\n  def _g(self): pass", []),
    ("def f(): 'Says.'", []),
])
def test_silence_is_found(source: str, found: list[str]) -> None:
    space = {"__name__": "m"}
    exec(source, space)
    assert list(silent(SimpleNamespace(__all__=["f"], **space))) == found  # type: ignore[arg-type]
