"""Corrupted inputs: each is read in a process that is watched, and what comes of it is judged."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.torture.record import Kept, Trial, refusal
from tests.torture.strange import corrupted
from tests.torture.surfaces import SURFACES, Surface, Wrong

__all__ = ["CHUNK", "run", "shares"]

CHUNK = 100
HANG_S = 40.0  # of one trial, on a core that others use too
_ROOM = 6 << 30  # bytes of addresses beyond what the libraries take
_GREW = 1 << 30  # bytes that one trial may take
_TEMP = tempfile.gettempdir()
_CODE = "from pathlib import Path; Path({canary!r}).touch()\n"


def shares(total: int, only: str | None = None) -> dict[str, int]:
    """How many trials each surface gets of ``total``."""
    chosen = [one for one in SURFACES.values() if only is None or only in one.name]
    whole = sum(one.weight for one in chosen)
    return {one.name: max(round(total * one.weight / whole), 1) for one in chosen}


def run(good: Path, place: Path, kept: Kept, *, total: int, seed: int, only: str | None = None) -> None:
    """Try ``total`` corrupted inputs, less those that were tried before."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["torch", "transformers", "peft", "sklearn.linear_model", "scrimp.cli.app",
                                   "scrimp.serving.predictors", "hypothesis", "tests.torture.surfaces"])
    done = kept.names()
    for name, count in shares(total, only).items():
        for first in range(0, count, CHUNK):
            numbers = [n for n in range(first, min(first + CHUNK, count)) if (name, str(n)) not in done]
            while numbers:
                numbers = _watched(server, good, place, kept, SURFACES[name], numbers, seed)
        print(f"inputs: {name}: {kept.counts().get(name)}", flush=True)


def _watched(server: Any, good: Path, place: Path, kept: Kept, surface: Surface, numbers: list[int],
             seed: int) -> list[int]:
    """Let a process try these; returns those that are left because it hung or was ended."""
    folder = Path(tempfile.mkdtemp(prefix="trials-", dir=place))
    said = folder / "said.jsonl"
    process = server.Process(target=_worker, args=(str(good), str(folder), surface.name, numbers, seed, os.getpid()))
    process.start()
    seen, changed = 0, time.monotonic()
    while process.is_alive():
        process.join(0.2)
        size = said.stat().st_size if said.exists() else 0
        if size != seen:
            seen, changed = size, time.monotonic()
        elif time.monotonic() - changed > HANG_S + (60 if not seen else 0):
            process.kill()
            process.join()
    lines = [json.loads(line) for line in said.read_text().splitlines()] if said.exists() else []
    tried = [line for line in lines if "outcome" in line]
    for line in tried:
        kept.add(Trial(surface.name, str(line["n"]), line["outcome"], line["told"], line.get("facts")))
    left = [n for n in numbers if n not in {line["n"] for line in tried}]
    if left:
        log = (folder / "log").read_text(errors="replace")[-1500:] if (folder / "log").exists() else ""
        what = f"it hung for {HANG_S:g} s" if process.exitcode == -9 else f"the process ended with {process.exitcode}"
        kept.add(Trial(surface.name, str(left[0]), "failed", what, {"log": log}))
        with contextlib.suppress(OSError):
            shutil.copytree(folder / str(left[0]), place / "failed" / f"{surface.name.replace('/', '-')}-{left[0]}",
                            dirs_exist_ok=True, symlinks=True)
        left = left[1:]
    shutil.rmtree(folder, ignore_errors=True)
    return left


# within the process -------------------------------------------------------------------------------------------------

class Watch:
    """What Python code must not do while it reads a stranger's file: run it, start a program, call or write afar."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def over(self, *folders: Path) -> Iterator[None]:
        self.inside, self.seen = [str(folder) for folder in folders], []
        try:
            yield
        finally:
            self.inside = []

    def _hook(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.inside:
            return
        if event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"):
            if event == "subprocess.Popen" and (str(given[0]).endswith("c++") or "-I" in map(str, given[1])):
                return  # the kernels' compiler, and where a stranger's pattern is tried within bounds
            self.seen.append(f"{event} {str(given)[:150]}")
        elif event == "exec" and getattr(given[0], "co_filename", "").startswith(tuple(self.inside)):
            self.seen.append(f"exec of {given[0].co_filename}")
        elif event == "open" and isinstance(given[0], str) and isinstance(given[2], int) and given[2] & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            place = os.path.abspath(given[0])
            allowed = place.startswith((*self.inside, "/dev/", "/proc/", _TEMP)) and "/../" not in given[0]
            if not allowed and not place.endswith(".pyc") and "__pycache__" not in place:
                self.seen.append(f"open for writing {place}")


def _worker(good: str, folder: str, name: str, numbers: list[int], seed: int, parent: int) -> None:
    work, surface = Path(folder), SURFACES[name]
    log = (work / "log").open("w")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.enable(log)
    faulthandler.dump_traceback_later(HANG_S - 5, repeat=True, file=log)
    warnings.simplefilter("ignore")
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    import torch

    torch.set_num_threads(1)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, size + _ROOM))
    watch = Watch()
    with (work / "said.jsonl").open("a") as said:
        for number in numbers:
            said.write(json.dumps({"n": number}) + "\n")
            said.flush()
            faulthandler.cancel_dump_traceback_later()
            faulthandler.dump_traceback_later(HANG_S - 5, repeat=True, file=log)
            outcome, told = one(Path(good), work / str(number), surface, number, seed, watch)
            said.write(json.dumps({"n": number, "outcome": outcome, "told": told}) + "\n")
            said.flush()
            if outcome == "failed":
                kept = work.parent / "failed" / f"{surface.name.replace('/', '-')}-{number}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(work / str(number), kept, symlinks=True)
            shutil.rmtree(work / str(number), ignore_errors=True)
    os._exit(0)  # threads of what was served need not end first


def one(good: Path, folder: Path, surface: Surface, number: int, seed: int, watch: Watch) -> tuple[str, str]:
    """One trial: what became of it, and its first words."""
    folder.mkdir(parents=True)
    (folder / "good").symlink_to(good)
    os.environ |= {"SCRIMP_WORKSPACE": str(folder / "space-of-it"), "SCRIMP_CACHE": str(folder.parent.parent / "cache")}
    os.chdir(folder)
    path = spoil(good / surface.source, folder, surface, f"{seed} {surface.name} {number}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with watch.over(folder, folder.parent.parent / "cache"):
        try:
            outcome, told = "right", str(surface.read(path))
        except Wrong as error:
            outcome, told = "failed", f"accepted what cannot be right: {error}"
        except BaseException as error:
            unclear = refusal(error)
            outcome, told = ("failed", unclear) if unclear else ("refused", f"{type(error).__name__}: {error}"[:300])
    if watch.seen:
        outcome, told = "failed", f"it {watch.seen[0]}"
    if (folder / "canary").exists():
        outcome, told = "failed", "code of the input was run"
    if (grew := (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024) > _GREW:
        outcome, told = "failed", f"it took {grew >> 20} MiB"
    return outcome, told


def spoil(source: Path, folder: Path, surface: Surface, address: str) -> Path:
    """A copy of ``source`` in which one file is corrupted by hypothesis, the same at each call."""
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target)
        victims = sorted(path for pattern in surface.spoilt for path in target.rglob(pattern) if path.is_file())
    else:
        shutil.copy(source, target)
        victims = [target]
    digest = int.from_bytes(hashlib.sha256(address.encode()).digest()[:8], "big")
    victim = victims[digest % len(victims)]
    victim.write_bytes(drawn(victim, digest))
    for plant in surface.planted:
        if digest % 3 == 0:
            _PLANTS[plant](target, folder / "canary")
    return victim if surface.source in ("records",) else target


def drawn(path: Path, digest: int) -> bytes:
    """What hypothesis draws first by this seed."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    found: list[bytes] = []

    @seeded(digest)
    @settings(max_examples=3, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(st.data())
    def draw(data: Any) -> None:
        found.append(corrupted(path, data.draw))

    draw()
    return found[-1]  # the first is the simplest that there is


class _Runs:
    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.canary,)


def _pickle(folder: Path, canary: Path) -> None:
    import pickle

    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt", "weights.pkl"):
        (folder / name).write_bytes(pickle.dumps(_Runs(canary)))


def _auto_map(folder: Path, canary: Path) -> None:
    for name in ("modeling_own", "configuration_own", "tokenization_own", "__init__", "conftest", "sitecustomize"):
        (folder / f"{name}.py").write_text(_CODE.format(canary=str(canary)))
    auto = {"AutoConfig": "configuration_own.Own", "AutoModel": "modeling_own.Own",
            "AutoModelForCausalLM": "modeling_own.Own", "AutoTokenizer": ["tokenization_own.Own", None]}
    for name in ("config.json", "tokenizer_config.json"):
        with contextlib.suppress(ValueError, OSError, RecursionError, AttributeError, TypeError):
            told = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({**told, "auto_map": auto, "trust_remote_code": True}))


def _jinja(folder: Path, canary: Path) -> None:
    order = f"touch {canary}"
    attack = ("{{ cycler.__init__.__globals__.os.system('" + order + "') }}"
              "{{ ''.__class__.__mro__[1].__subclasses__() }}"
              "{{ lipsum.__globals__['os'].popen('" + order + "').read() }}")
    path = folder / "chat_template.jinja"
    path.write_bytes(attack.encode() + path.read_bytes())


_PLANTS = {"pickle": _pickle, "auto_map": _auto_map, "jinja": _jinja}
