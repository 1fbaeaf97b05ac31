"""The workspace: each step's result stands in a folder named by the hash of what made it.

A finished step is never made twice. An unfinished one keeps its partial folder, so that the same command continues
in it after a kill. Whatever is written is written beside and renamed: a reader sees the old or the new, never a half.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel

from scrimp.core.errors import WorkspaceError

__all__ = ["FORMAT", "Step", "Workspace", "atomic_folder", "atomic_write", "fingerprint", "folder_bytes", "scratch"]

FORMAT = 1
_MARK = "step.json"
_BEGUN = ".begun"  # in a folder that is not finished: the fingerprint of what it is being made from


def fingerprint(thing: Any) -> str:
    """A sha256 in hex: of bytes, of a file's content (for a Path), else of canonical JSON."""
    digest = hashlib.sha256()
    if isinstance(thing, Path):
        try:
            with thing.open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
        except OSError as error:
            raise WorkspaceError("cannot be read", where=str(thing), why=error.strerror) from None
    elif isinstance(thing, bytes):
        digest.update(thing)
    else:
        digest.update(json.dumps(thing, sort_keys=True, ensure_ascii=True, default=_plain).encode())
    return digest.hexdigest()


def _plain(thing: Any) -> Any:
    if isinstance(thing, BaseModel):
        return thing.model_dump()
    if isinstance(thing, Mapping):
        return dict(thing)
    if isinstance(thing, tuple | set | frozenset):
        return sorted(thing) if not isinstance(thing, tuple) else list(thing)
    if isinstance(thing, Path):
        return str(thing)
    raise TypeError(f"{type(thing).__name__} has no canonical form")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, a kill or a full disk meets the old content or the new, never a part."""
    path = Path(path)
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside, handle = _file_beside(path)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            beside.chmod(0o644)
            beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if beside:
            beside.unlink(missing_ok=True)
        raise WorkspaceError("cannot be written", where=str(path), why=error.strerror or str(error),
                             fix="free some disk or choose another folder") from None


def _file_beside(path: Path) -> tuple[Path, int]:
    """An empty file beside ``path``, locked: the one that a killed process left, unless another writes there now."""
    beside, handle = path.with_name(f".{path.name}.scrimp-part"), None
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(beside.stat(), os.fstat(handle)):  # else it has become ``path`` meanwhile
            os.truncate(handle, 0)
            return beside, handle
    except OSError:  # locked, gone, a link, or a file system without locks
        pass
    if handle is not None:
        os.close(handle)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.scrimp-", dir=path.parent)
    return Path(name), handle


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill the yielded folder; when the block ends without an error it takes the place of ``path``."""
    path = Path(path)
    with scratch(path) as beside:
        try:
            yield beside
            _replace_folder(beside, path)
        except Exception as error:
            if not _of_the_disk(error):
                raise
            raise WorkspaceError("cannot be written", where=str(path),
                                 why=getattr(error, "strerror", None) or str(error),
                                 fix="free some disk or choose another folder") from None


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` for as long as the block lasts.

    It is locked while its process lives. What a kill has left of others for the same ``path`` is swept first.

    Raises:
        WorkspaceError: it cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        beside, handle = _made_beside(path)
    except OSError as error:
        raise WorkspaceError("cannot be written", where=str(path), why=error.strerror or str(error)) from None
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _made_beside(path: Path) -> tuple[Path, int | None]:
    """A new folder and its lock; none where the file system has no locks."""
    while True:
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.scrimp-", dir=path.parent))
        beside.chmod(0o755)
        try:
            return beside, _locked(beside)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process took it for what a kill has left, in the moment before it was locked


def _locked(folder: Path) -> int | None:
    """What holds a folder until it is closed or its process ends; None where the file system has no locks.

    Raises:
        BlockingIOError: another holds it.
        FileNotFoundError: it is gone.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def _sweep(path: Path) -> None:
    """Delete what killed processes left beside ``path``; what stepped aside for another that never came is put back."""
    ours = re.compile(re.escape(f".{path.name}.scrimp-") + r"(?:\w{8}|(old)-\d+)")
    for left in path.parent.iterdir():
        if (found := ours.fullmatch(left.name)) is None:
            continue
        with contextlib.suppress(OSError):
            if (handle := _locked(left)) is None:
                continue
            try:
                if found[1] and not path.exists():
                    left.rename(path)
                else:
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def _of_the_disk(error: Exception) -> bool:
    """Whether the system could not write; safetensors tells of that by an error of its own."""
    return isinstance(error, OSError) or (type(error).__name__ == "SafetensorError" and "(os error" in str(error))


def _replace_folder(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; an old ``path`` steps aside first and is put back should the rename fail."""
    aside = path.with_name(f".{path.name}.scrimp-old-{os.getpid()}")
    with _held(path):
        if path.exists():
            path.rename(aside)
        try:
            new.rename(path)
        except OSError:
            if aside.exists():
                aside.rename(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold what stands at ``path``, if anything does, once nobody else is replacing it."""
    handle = None
    while path.exists():
        try:
            handle = _locked(path)
            break
        except BlockingIOError:
            time.sleep(0.01)
        except FileNotFoundError:
            break
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file() and not f.is_symlink())


@dataclass(frozen=True)
class Step:
    """A result in the workspace: its kind, folder, bytes, when it was last used, and whether it is finished."""

    kind: str
    path: Path
    bytes: int
    used_at: float
    finished: bool


class Workspace:
    """A folder of content-addressed steps.

    Args:
        root: made when missing; refused when it was written by a newer format.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError("cannot be made", where=str(self.root), why=error.strerror,
                                 fix="choose another folder") from None
        self._check_format()

    def _check_format(self) -> None:
        mark = self.root / "workspace.json"
        try:
            found = json.loads(mark.read_text())["format"]
        except FileNotFoundError:
            atomic_write(mark, json.dumps({"format": FORMAT}))
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkspaceError("the workspace's mark is damaged", where=str(mark), why=str(error),
                                 fix="delete that file if the folder is a scrimp workspace") from None
        if found != FORMAT:
            raise WorkspaceError(f"the workspace has format {found}, this scrimp reads {FORMAT}", where=str(self.root),
                                 fix="use another --workspace, or the scrimp that wrote it")

    def step(self, kind: str, inputs: Any, make: Callable[[Path], None]) -> Path:
        """The finished folder of the step described by ``inputs``; if there is none, ``make(partial_folder)`` fills it.

        ``make`` may find in the partial folder what an earlier, killed attempt left there, and continue.
        A second process that asks for the same step waits for the first.

        Raises:
            WorkspaceError: what stands there was made, or is being made, from other inputs.
        """
        address = self._address(kind, inputs)
        done, partial = self.root / address, self.root / f"{address}.partial"
        with self.alone(address):
            if not self._is_of(done, inputs):
                shutil.rmtree(done, ignore_errors=True)
                self._mkdir(partial)
                self._begin(partial, inputs)
                make(partial)
                atomic_write(partial / _MARK, json.dumps({"kind": kind, "inputs": inputs}, default=_plain))
                (partial / _BEGUN).unlink(missing_ok=True)
                partial.rename(done)
            with contextlib.suppress(OSError):
                os.utime(done)
        return done

    @staticmethod
    def _is_of(done: Path, inputs: Any) -> bool:
        """Whether a folder holds the finished step of these inputs; one whose mark is damaged is made again.

        Raises:
            WorkspaceError: it holds that of other inputs.
        """
        try:
            found = json.loads((done / _MARK).read_text(encoding="utf-8"))["inputs"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        if fingerprint(found) != fingerprint(json.loads(json.dumps(inputs, default=_plain))):
            raise WorkspaceError("this step was made from other inputs", where=str(done),
                                 fix="delete this folder; it is made again")
        return True

    @staticmethod
    def _begin(partial: Path, inputs: Any) -> None:
        """Note what a folder is being made from; one that an earlier attempt has begun must be of the same.

        Raises:
            WorkspaceError: it is of others.
        """
        mark, ours = partial / _BEGUN, fingerprint(inputs)
        try:
            begun = mark.read_text(encoding="utf-8")
        except (OSError, ValueError):
            begun = ""
        if begun and begun != ours:
            raise WorkspaceError("this step was begun from other inputs", where=str(partial),
                                 fix="delete this folder; it is made again")
        if not begun:
            atomic_write(mark, ours)

    def finished(self, kind: str, inputs: Any) -> bool:
        """Whether the step described by ``inputs`` need not be made."""
        return (self.root / self._address(kind, inputs) / _MARK).exists()

    @staticmethod
    def _address(kind: str, inputs: Any) -> str:
        return f"{kind}-{fingerprint({'kind': kind, 'inputs': inputs})[:20]}"

    @staticmethod
    def _mkdir(folder: Path) -> None:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise WorkspaceError("cannot be made", where=str(folder), why=error.strerror) from None

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold what only one process at a time may hold; wait for another that does, and say so.

        Raises:
            WorkspaceError: it cannot be locked.
        """
        lock = FileLock(self.root / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            from scrimp.core.progress import say

            say(f"another process is busy with {name}; waiting for it")
            lock.acquire()
        except OSError as error:
            raise WorkspaceError("cannot be locked", where=str(self.root), why=error.strerror) from None
        try:
            yield
        finally:
            lock.release()

    def busy(self, name: str) -> bool:
        """Whether a process is making the step of that name now."""
        lock = FileLock(self.root / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False  # nobody makes anything in a folder that cannot be written
        lock.release()
        return False

    def steps(self) -> list[Step]:
        """All steps, most recently used first."""
        found = []
        for path in self.root.iterdir():
            if path.is_dir() and not path.name.startswith("."):
                finished = (path / _MARK).exists() and not path.name.endswith(".partial")
                found.append(Step(path.name.split("-")[0], path, folder_bytes(path), path.stat().st_mtime, finished))
        return sorted(found, key=lambda s: -s.used_at)

    def clean(self, *, quota: int = 0, older_than_s: float = 0.0) -> list[Step]:
        """Delete the least recently used steps until at most ``quota`` bytes remain; returns what was deleted.

        Steps used within ``older_than_s`` seconds are kept, and so is whatever another process is making now.
        """
        kept, removed = 0, []
        for step in self.steps():
            kept += step.bytes
            if kept <= quota or time.time() - step.used_at < older_than_s:
                continue
            lock = FileLock(self.root / f".{step.path.name.removesuffix('.partial')}.lock")
            with contextlib.suppress(Timeout), lock.acquire(timeout=0):
                shutil.rmtree(step.path, ignore_errors=True)
                removed.append(step)
                kept -= step.bytes
        return removed
