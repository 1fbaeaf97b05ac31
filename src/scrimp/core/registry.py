"""Every method by name: families, presets, and the door through which third parties add theirs.

A *family* is a group of methods with one verb. A *preset* is a named choice of a family's options; a paper is
usually one. The built-in families are imported when first asked for, so listing names costs no torch until then.
A third party registers with the entry point group ``scrimp.methods``: the entry names a module that calls
``preset``. Names that are taken already are told and left out; the package's other methods are there.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar

from pydantic import PrivateAttr

from scrimp.core.errors import OptionError, nearest
from scrimp.core.options import Options
from scrimp.core.progress import warn

__all__ = ["ENTRY_POINT_GROUP", "FAMILIES", "Cost", "Method", "Preset", "build", "lookup", "preset", "presets"]

ENTRY_POINT_GROUP = "scrimp.methods"

#: family -> the module whose import registers its built-in methods
FAMILIES: dict[str, str] = {
    "adapter": "scrimp.tuning.adapters",
    "optimizer": "scrimp.tuning.optimizers",
    "schedule": "scrimp.tuning.optimizers",
    "clipping": "scrimp.tuning.optimizers",
    "objective": "scrimp.tuning.objectives",
    "packing": "scrimp.tuning.packing",
    "sampling": "scrimp.tuning.sampling",
    "weighting": "scrimp.tuning.weighting",
    "meta": "scrimp.tuning.meta",
    "head": "scrimp.tuning.heads",
    "continual": "scrimp.tuning.continual",
    "selection": "scrimp.data.selection",
    "mixing": "scrimp.data.mixing",
    "synthesis": "scrimp.data.synthesis",
    "condensation": "scrimp.data.condensation",
    "merging": "scrimp.surgery.merging",
    "growth": "scrimp.surgery.growth",
    "compression": "scrimp.surgery.compression",
    "vocabulary": "scrimp.surgery.vocabulary",
    "architecture": "scrimp.surgery.architectures",
    "audit": "scrimp.trust",
    "unlearning": "scrimp.trust",
    "metric": "scrimp.evaluation.metrics",
    "decoding": "scrimp.serving.decoding",
    "curve": "scrimp.planning.curves",
    "allocation": "scrimp.planning.allocation",
    "ranking": "scrimp.planning.ranking",
    "search": "scrimp.planning.search",
    "advice": "scrimp.planning.advice",
    "protocol": "scrimp.planning.protocols",
}

#: family -> modules of rooms further up that add methods to it
ADDING: dict[str, tuple[str, ...]] = {"sampling": ("scrimp.data.mixing",), "allocation": ("scrimp.planning.pools",)}


@dataclass(frozen=True)
class Cost:
    """What a method says that it takes; the battery of its family measures whether that is so.

    Each family's ``cost`` states what matters there and leaves the rest None.

    Attributes:
        parameters: that move, or that the result has.
        state_bytes: kept between the steps of an optimizer.
        forward, backward: passes over each example.
        calls: of a language model, for each new example.
    """

    parameters: int | None = None
    state_bytes: int | None = None
    forward: float | None = None
    backward: float | None = None
    calls: float | None = None


class Method(Options):
    """Base of all methods: the typed fields are the options, the docstring is the page."""

    family: ClassVar[str]
    verb: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        """The name it was built under, else that of its class."""
        return self._name or type(self).__name__


@dataclass(frozen=True)
class Preset:
    """A name under which a method can be had, with the options that make it what the name says."""

    name: str
    method: type[Method]
    options: Mapping[str, Any] = field(default_factory=dict)
    papers: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        """The family of its method."""
        return self.method.family

    @property
    def summary(self) -> str:
        """The first line of the method's docstring."""
        return (self.method.__doc__ or "").strip().split("\n")[0]

    def build(self, options: Mapping[str, Any] | None = None, *, where: str | None = None) -> Method:
        """The method with the preset's options, and ``options`` over them.

        Raises:
            OptionError: an option is unknown or has a wrong value; ``where`` is what it names as the place.
        """
        made = self.method.parse({**self.options, **(options or {})}, where=where or f"{self.family} '{self.name}'")
        made._name = self.name
        return made


_PRESETS: dict[tuple[str, str], Preset] = {}
_LOADED: set[str] = set()
_PACKAGE: ContextVar[str | None] = ContextVar("package", default=None)  # whose entry point is being loaded
_CHECKING: ContextVar[bool] = ContextVar("checking", default=False)  # whether a preset is being registered


def preset(name: str, method: type[Method], *, papers: tuple[int, ...] = (), **options: Any) -> Preset:
    """Register ``method`` under ``name``; the options are checked now, not when somebody first uses them.

    Every option needs a default, so that each method can be listed, built and tested by its name alone.
    """
    made, package = Preset(name, method, options, papers), _PACKAGE.get()
    with _set(_CHECKING, True):
        made.build(where=f"preset '{name}'")
    if package is not None:
        _built_in(method.family)  # so that its names come first
    key = (method.family, name)
    if _PRESETS.get(key, made) == made:
        _PRESETS[key] = made
    elif package is None:
        raise OptionError(f"'{name}' is registered already for {_PRESETS[key].method.__name__}",
                          where=f"family '{method.family}'", fix="choose another name")
    else:
        warn(f"the {method.family} '{name}' of the package '{package}' is left out: "
             f"{_PRESETS[key].method.__module__} has this name already")
    return made


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _load(family: str) -> None:
    if family not in FAMILIES:
        raise OptionError(f"there is no family '{family}'; {nearest(family, FAMILIES)}")
    if _CHECKING.get():
        return  # a preset that is made of others finds those that are there; its family is being made just now
    _built_in(family)
    if "entry points" not in _LOADED:
        _LOADED.add("entry points")
        for entry in entry_points(group=ENTRY_POINT_GROUP):
            with _set(_PACKAGE, _package_of(entry)):
                entry.load()


def _built_in(family: str) -> None:
    if family in FAMILIES and family not in _LOADED:
        for module in (FAMILIES[family], *ADDING.get(family, ())):
            with _set(_PACKAGE, None):
                importlib.import_module(module)
        _LOADED.add(family)


def _package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module


def presets(family: str | None = None) -> list[Preset]:
    """All registered presets, of one family or of all, sorted by family and name."""
    for one in [family] if family else list(FAMILIES):
        _load(one)
    return sorted((p for p in _PRESETS.values() if family in (None, p.family)), key=lambda p: (p.family, p.name))


def lookup(family: str, name: str) -> Preset:
    """The preset of that name, or an OptionError with the nearest one."""
    _load(family)
    if (family, name) not in _PRESETS:
        known = [n for f, n in _PRESETS if f == family]
        raise OptionError(f"there is no {family} '{name}'; {nearest(name, known)}")
    return _PRESETS[family, name]


def build(family: str, name: str, options: Mapping[str, Any] | None = None, *, where: str | None = None) -> Any:
    """The method ``name`` of ``family`` with ``options``, checked."""
    return lookup(family, name).build(options, where=where)
