"""What every verb is: its typed fields are its options, its docstring is its page, `do` does it."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from contextvars import ContextVar
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import platformdirs
from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo

from scrimp.core.budget import Moment
from scrimp.core.errors import OptionError, WorkspaceError
from scrimp.core.memory import is_out_of_memory, too_little
from scrimp.core.options import Options

__all__ = ["Verb", "Workspaced", "default_workspace", "held", "own_option", "plain"]

_SINCE: ContextVar[Moment | None] = ContextVar("since", default=None)


def default_workspace() -> Path:
    """``SCRIMP_WORKSPACE``, else a folder in the cache: ``SCRIMP_CACHE``, else the person's."""
    if named := os.environ.get("SCRIMP_WORKSPACE"):
        return Path(named)
    return Path(os.environ.get("SCRIMP_CACHE") or platformdirs.user_cache_path("scrimp")) / "workspace"


def held(folder: Path) -> set[str]:
    """Names in a folder that is to be written; none if it does not exist yet."""
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise WorkspaceError("is no folder to write into", where=str(folder), why=error.strerror,
                             fix="give another folder as out") from None


def own_option(error: OptionError, verb: type[Options]) -> str | None:
    """Of the ``verb`` itself, the option that a person meant by one which the choices that it passes on do not know."""
    unknown = re.findall(r"unknown option '([^']+)'", error.what)
    close = [name for key in unknown for name in get_close_matches(key, verb.model_fields, n=1, cutoff=0.7)]
    return f"did you mean '{close[0]}'?" if close else None


class Verb(Options, ABC):
    """Something that scrimp can be asked to do.

    Attributes:
        positional: the options that may be given without their name, in order.
        rest: the option into which options go that the verb does not have itself.
        examples: shell commands for the help.
    """

    positional: ClassVar[tuple[str, ...]] = ()
    rest: ClassVar[str | None] = None
    examples: ClassVar[tuple[str, ...]] = ()

    @property
    def since(self) -> Moment:
        """From when on it is billed: when it was asked for, or this moment if it is not being done."""
        return _SINCE.get() or Moment.now()

    @abstractmethod
    def do(self) -> Any:
        """Do it and return what came of it."""

    @classmethod
    def named(cls) -> str:
        """The verb's name."""
        return cls.__name__.lower()

    @classmethod
    def ask(cls, **options: Any) -> Any:
        """Check the options and do it."""
        return cls.parse(options, where=f"scrimp {cls.named()}").done()

    def done(self, since: Moment | None = None) -> Any:
        """What came of `do`, whose failure for want of memory is told as one.

        Args:
            since: when it was asked for, if that was before this moment.

        Raises:
            BudgetError: if memory is wanting.
        """
        before = _SINCE.set(since or Moment.now())
        try:
            return self.do()
        except (MemoryError, RuntimeError, ImportError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            raise too_little(error) from None
        finally:
            _SINCE.reset(before)

    @classmethod
    def listed(cls) -> dict[str, FieldInfo]:
        """The options in the order in which a person meets them: positional, required, own, inherited."""
        own_first = [name for base in cls.__mro__ for name in getattr(base, "__annotations__", ())
                     if name in cls.model_fields]
        ordered = [*cls.positional, *(name for name in own_first if cls.model_fields[name].is_required()), *own_first]
        return {name: cls.model_fields[name] for name in ordered if name != cls.rest}


class Workspaced(Options):
    """Where finished steps are kept, so that nothing is done twice."""

    workspace: Annotated[Path, BeforeValidator(lambda given: default_workspace() if given is None else given)] = Field(
        None, validate_default=True,
        description="Folder of finished steps; without it, SCRIMP_WORKSPACE or a folder in your cache.")


def plain(annotation: Any) -> Any:
    """A type without its validators, as a person wants to read it."""
    if get_origin(annotation) is Annotated:
        return plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(plain, get_args(annotation)))
    if (parts := get_args(annotation)) and (kind := get_origin(annotation)) is not Literal:
        return kind[tuple(map(plain, parts))]
    if isinstance(annotation, type) and issubclass(annotation, Options):
        return dict[str, Any]  # it is written as a mapping
    return annotation
