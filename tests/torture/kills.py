"""SIGKILL at random moments, then the same command again: it finishes, loses nothing, leaves nothing half-written."""

from __future__ import annotations

import random
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.torture.commands import COMMANDS, Command, fingerprints, half, server, start
from tests.torture.record import Kept, Trial

__all__ = ["run"]

_LONGEST_S = 900.0
_INPUTS = ("rows", "causal", "runs")


def run(good: Path, place: Path, kept: Kept, *, total: int, seed: int, only: str | None = None) -> None:
    """Kill ``total`` processes, less those that were killed before."""
    made, chosen = server(), {name: one for name, one in COMMANDS.items() if not only or only in name}
    weights = sum(one.weight for one in chosen.values())
    done, untouched = kept.names(), _inputs(good)
    for name, command in chosen.items():
        count = max(round(total * command.weight / weights), 1)
        numbers = [n for n in range(count) if (name, str(n)) not in done]
        if not numbers:
            continue
        cache = place / "kills" / "cache"
        whole = place / "kills" / name
        seconds, wanted, told = _unbroken(made, good, whole, command, cache)
        for n in numbers if told is None else ():
            at = place / "kills" / f"{name} {n}"
            trial = _killed(made, good, at, command, cache, random.Random(f"{seed} {name} {n}"), seconds, wanted)
            if _inputs(good) != untouched:
                trial = ("failed", "the inputs are no longer what they were", {})
            kept.add(Trial(name, str(n), *trial))
            if trial[0] != "failed":
                shutil.rmtree(at, ignore_errors=True)
        if told is not None:
            kept.add(Trial(name, "unbroken", "failed", told))
        shutil.rmtree(whole, ignore_errors=True)
        print(f"kills: {name} ({seconds:.1f} s unbroken): {kept.counts().get(name)}", flush=True)


def _inputs(good: Path) -> dict[str, str]:
    return {f"{part}/{name}": told for part in _INPUTS for name, told in fingerprints(good / part).items()}


def _begin(made: Any, good: Path, at: Path, command: Command, cache: Path) -> Any:
    at.mkdir(parents=True, exist_ok=True)
    space = at / "space"
    if command is COMMANDS["clean"] and not (at / "filled").exists():
        shutil.copytree(good / "space", space)
        (at / "filled").touch()
    return start(made, command.words(good, at), at / "log", cache=cache, space=space)


def _unbroken(made: Any, good: Path, at: Path, command: Command, cache: Path) -> tuple[float, dict[str, str],
                                                                                       str | None]:
    """Seconds of a run that nobody kills, what it leaves, and what went wrong; the first fills the cache."""
    seconds, wanted = 0.0, {}
    for _ in range(2):
        shutil.rmtree(at, ignore_errors=True)
        began = time.monotonic()
        process = _begin(made, good, at, command, cache)
        if not command.ends:
            ready = _answers(command.words(good, at), process)
            seconds = time.monotonic() - began
            process.kill()
            process.join()
            if not ready:
                return seconds, {}, (at / "log").read_text()[-500:]
            continue
        process.join(_LONGEST_S)
        seconds = time.monotonic() - began
        if process.exitcode != 0:
            return seconds, {}, f"unbroken it ended with {process.exitcode}: {(at / 'log').read_text()[-500:]}"
        wanted = fingerprints(at / command.leaves, command.same) if command.leaves else {}
    return seconds, wanted, None


def _killed(made: Any, good: Path, at: Path, command: Command, cache: Path, chance: random.Random, seconds: float,
            wanted: dict[str, str]) -> tuple[Any, str, dict[str, Any]]:
    """Kill it once, look at what is left, and let the same command finish."""
    for _ in range(20):
        shutil.rmtree(at, ignore_errors=True)
        moment = chance.uniform(0.0, 1.0) * seconds
        process = _begin(made, good, at, command, cache)
        process.join(moment)
        if process.exitcode is None:
            break
    else:
        return "failed", "it ended before it could be killed", {}
    process.kill()
    process.join()
    facts = {"after": round(moment / seconds, 2)}
    if (broken := half(command, at)) is not None:
        return "failed", f"after the kill {broken}", facts
    again = _begin(made, good, at, command, cache)
    if not command.ends:
        ready = _answers(command.words(good, at), again)
        again.kill()
        again.join()
        return ("right", "", facts) if ready else ("failed", "it does not serve again", facts)
    again.join(_LONGEST_S)
    log = (at / "log").read_text(errors="replace")
    if again.exitcode is None:
        again.kill()
        return "failed", "the second one hung", facts
    if "Traceback" in log or again.exitcode not in range(9):
        return "failed", f"the second one ended with {again.exitcode}: {log[-300:]}", facts
    if again.exitcode:
        return "refused", log[-300:], facts
    if (broken := half(command, at)) is not None:
        return "failed", f"when finished {broken}", facts
    if command.leaves and (found := fingerprints(at / command.leaves, command.same)) != wanted:
        return "failed", f"it left something else: {sorted(set(found.items()) ^ set(wanted.items()))[:2]}", facts
    litter = [path.name for path in at.iterdir() if path.name.startswith(".")]
    return "right", "", facts | ({"litter": len(litter)} if litter else {})


def _answers(words: list[str], process: Any) -> bool:
    """Whether the server answers within a while."""
    port, ended = int(words[words.index("--port") + 1]), time.monotonic() + 120
    while time.monotonic() < ended and process.is_alive():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.2)
    return False
