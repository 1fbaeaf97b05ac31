"""A failure for want of memory is told as one, whichever library it comes from."""

from __future__ import annotations

import errno
import resource
import sys

import pytest

from scrimp.cli import app
from scrimp.core import memory
from scrimp.core.errors import BudgetError, ScrimpError
from scrimp.core.memory import ROOM, check_room, is_out_of_memory
from scrimp.verbs import VERBS
from scrimp.verbs.base import Verb


class OutOfMemoryError(RuntimeError):
    """As torch's, which need not be loaded to know it."""


@pytest.mark.parametrize(("error", "so"), [
    (MemoryError(), True), (OutOfMemoryError("CUDA"), True), (OSError(errno.ENOMEM, "no"), True),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
    (RuntimeError("could not create a primitive"), True), (RuntimeError("could not create a memory object"), True),
    (RuntimeError("could not execute a primitive"), True),
    (ImportError("libx.so: failed to map segment from shared object"), True),
    (RuntimeError("shapes do not match"), False), (OSError(errno.ENOSPC, "full"), False), (ImportError("no x"), False),
    (ValueError("could not create a primitive"), False)])
def test_which_failures_are_for_want_of_memory(error: Exception, so: bool) -> None:
    assert is_out_of_memory(error) is so


class Hungry(Verb):
    """Asks for too much."""

    def do(self) -> None:
        raise RuntimeError("could not create a primitive")


class Broken(Verb):
    """Fails otherwise."""

    def do(self) -> None:
        raise RuntimeError("shapes do not match")


def test_a_verb_tells_it_in_python_and_on_the_command_line(monkeypatch: pytest.MonkeyPatch,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BudgetError, match=r"not enough memory.*\n.*create a primitive\n.*smaller"):
        Hungry.ask()
    with pytest.raises(RuntimeError, match="shapes"):
        Broken.ask()
    monkeypatch.setitem(VERBS, "hungry", Hungry)
    assert app.main(["hungry"]) == BudgetError.exit_code
    assert "not enough memory" in capsys.readouterr().err


def test_where_there_is_no_memory_for_colours_the_error_is_told_without(monkeypatch: pytest.MonkeyPatch,
                                                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert app._tell(ScrimpError("all is lost", fix="begin again")) == 1
    assert capsys.readouterr().err == "error: all is lost\n  fix: begin again\n"


def test_too_little_room_is_refused_before_a_library_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    check_room()
    taken = memory._addresses()
    assert taken > 1 << 20
    monkeypatch.setattr(resource, "getrlimit", lambda _: (taken + 2 * ROOM, resource.RLIM_INFINITY))
    check_room()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (taken + ROOM // 2, resource.RLIM_INFINITY))
    with pytest.raises(BudgetError, match=r"MiB of memory are left.*\n.*limited.*\n.*ulimit"):
        check_room()
