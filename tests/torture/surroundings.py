"""What a machine does to a program: a full disk, a folder that cannot be written, files that vanish, clocks that jump,
two processes on one workspace, too little memory. The program finishes or says what is wrong; then it finishes."""

from __future__ import annotations

import contextlib
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.torture.commands import COMMANDS, Command, fingerprints, half, server, start
from tests.torture.record import Kept, Trial

__all__ = ["run"]

_LONGEST_S = 900.0
_SIZES = (32 << 10, 512 << 10, 2 << 20)  # of a disk that is too small
_ROOM = (40 << 20, 250 << 20)  # of memory beyond what the libraries take
_VERBS = ("tune", "fit", "select", "mix", "merge", "export", "predict")
_Told = tuple[Any, str, dict[str, Any]]
_TIME = time.time


def run(good: Path, place: Path, kept: Kept, *, seed: int, only: str | None = None) -> None:
    """Every surrounding with every verb that suits it, less those that were tried before."""
    made, done, cache = server(), kept.names(), place / "surroundings" / "cache"
    for name in _VERBS:
        command, at = COMMANDS[name], place / "surroundings" / name
        wanted: dict[str, str] | None = None
        for kind, tried in _KINDS.items():
            for n, more in enumerate(tried.each):
                if (kind, f"{name} {n}") in done or (only and only not in f"{kind} {name}"):
                    continue
                if wanted is None:
                    wanted = _whole(made, good, at / "whole", command, cache)
                folder = at / f"{kind} {n}"
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                case = _Case(made, good, folder, command, cache, wanted, random.Random(f"{seed} {kind} {name} {n}"))
                trial = tried.try_it(case, more)
                kept.add(Trial(kind, f"{name} {n}", *trial))
                if trial[0] != "failed":
                    shutil.rmtree(folder, ignore_errors=True)
        print(f"surroundings: {name}: {sum(1 for t in kept if t.name.startswith(name))} tried, "
              f"{len(kept.failures())} failed in all", flush=True)


def _whole(made: Any, good: Path, at: Path, command: Command, cache: Path) -> dict[str, str]:
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir(parents=True)
    process = start(made, command.words(good, at), at / "log", cache=cache, space=at / "space")
    process.join(_LONGEST_S)
    assert process.exitcode == 0, (at / "log").read_text()
    return fingerprints(at / (command.leaves or "log"), command.same)


class _Case:
    """One command in one folder."""

    def __init__(self, made: Any, good: Path, at: Path, command: Command, cache: Path, wanted: dict[str, str],
                 chance: random.Random) -> None:
        self.made, self.good, self.at, self.command, self.cache = made, good, at, command, cache
        self.wanted, self.chance = wanted, chance
        self.log = at.parent / f"{at.name}.log"
        self.log.unlink(missing_ok=True)

    def begin(self, at: Path | None = None, before: Callable[[], None] | None = None, good: Path | None = None,
              space: Path | None = None) -> Any:
        at = at or self.at
        return start(self.made, self.command.words(good or self.good, at), self.log, cache=self.cache,
                     space=space or at / "space", before=before)

    def ended(self, process: Any, at: Path | None = None) -> _Told:
        """What became of it."""
        process.join(_LONGEST_S)
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        at = at or self.at
        if process.exitcode is None:
            process.kill()
            return "failed", "it hung", {}
        if "Traceback" in said or process.exitcode not in range(9):
            return "failed", f"it ended with {process.exitcode}: {said[-400:]}", {}
        if (broken := half(self.command, at)) is not None:
            return "failed", broken, {}
        if process.exitcode:
            clear = any(mark in said for mark in ("error: /", "  why: ", "  fix: "))  # where, why, or what to do
            last = said[said.rfind("error:"):][:300]
            return ("refused" if clear else "failed"), last, {"exit": process.exitcode}
        if self.command.leaves and fingerprints(at / self.command.leaves, self.command.same) != self.wanted:
            return "failed", "it left something else than alone", {}
        return "right", "", {}

    def ended_and_again(self, process: Any, at: Path | None = None, mend: Callable[[], None] = lambda: None) -> _Told:
        """What became of it; when that is mended, the same command finishes."""
        first = self.ended(process, at)
        if first[0] != "refused":
            return first
        mend()
        self.log.unlink()
        second = self.ended(self.begin(at), at)
        return first if second[0] == "right" else ("failed", f"when that is mended: {second[1]}", first[2])


@contextlib.contextmanager
def _disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of its own, in memory, of that many bytes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def _full(case: _Case, size: int) -> _Told:
    with _disk(case.at, size):
        return case.ended_and_again(case.begin(), mend=partial(_remount, case.at, f"size={256 << 20}"))


def _read_only(case: _Case, _: Any) -> _Told:
    with _disk(case.at, 64 << 20):
        case.command.words(case.good, case.at)  # what it needs beside it
        _remount(case.at, "ro")
        return case.ended_and_again(case.begin(), mend=partial(_remount, case.at, "rw"))


def _vanishing(case: _Case, part: float) -> _Told:
    """Rows, model or run are gone after a while."""
    mine = case.at / "inputs"
    shutil.copytree(case.good, mine, ignore=shutil.ignore_patterns("space", "cache"))
    process = case.begin(good=mine)
    process.join(part * 4.0)
    for name in ("rows", "causal", "runs"):
        with contextlib.suppress(OSError):
            (mine / name).rename(mine / f"gone-{name}")
    told = case.ended(process)
    if told[0] == "failed" and told[1] == "it left something else than alone":
        return "right", "", {}  # other paths are other words in what it leaves
    return told


def _jump(seed: int) -> None:
    """Let the clock on the wall leap by up to a day at each look."""
    chance = random.Random(seed)
    time.time = lambda: _TIME() + chance.uniform(-86400.0, 86400.0)  # type: ignore[assignment]


def _clock(case: _Case, seed: int) -> _Told:
    return case.ended(case.begin(before=partial(_jump, seed)))


def _at_once(case: _Case, shared: bool) -> _Told:
    """Two processes on one workspace, into one folder or two."""
    other = case.at if shared else case.at / "other"
    other.mkdir(exist_ok=True)
    first, second = case.begin(space=case.at / "space"), case.begin(other, space=case.at / "space")
    told = [case.ended(first), case.ended(second, other)]
    worst = max(told, key=lambda one: ("right", "refused", "failed").index(one[0]))
    if all(one[0] == "refused" for one in told):
        return "failed", f"neither finished: {worst[1]}", {}
    return worst


def _little(room: int) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + room, size + room))


def _memory(case: _Case, room: int) -> _Told:
    return case.ended_and_again(case.begin(before=partial(_little, room)))


class _Kind:
    def __init__(self, try_it: Callable[[_Case, Any], _Told], each: tuple[Any, ...]) -> None:
        self.try_it, self.each = try_it, each


_KINDS = {
    "full disk": _Kind(_full, _SIZES), "read-only folder": _Kind(_read_only, (None,)),
    "vanishing inputs": _Kind(_vanishing, (0.1, 0.7)), "jumping clock": _Kind(_clock, (1,)),
    "two at once": _Kind(_at_once, (True, False)), "little memory": _Kind(_memory, _ROOM)}
